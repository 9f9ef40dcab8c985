target "app" {
  contxt    = "."
  platforms = ["linux/amd46", "linux/armv7"]
  tags      = ["-dryRun", "app:1 2", "app:-x", "ghcr.io/MyOrg/app:1", "registry.example//app:feature/x", "https://registry.example/app"]
  index     = "sometimes"
  smok {
    command = ["--version"]
  }
  smoke {
    comand = ["--version"]
    expect {
      exitcode = 1
      stdout   = ["("]
    }
    http {
      port = 80800
    }
    timeout = "soon"
  }
  platform "linux/arm/v66" {
    arg = { A = "1" }
  }
}

workr "rack" {
  address = "ssh://rack"
}

worker "rack" {
  address = "rack.lan:1234"
  push    = "clinet"
  tls {
    cas = "ca.pem"
  }
}

worker "twin" {
  address = "rack.lan:1234"
}

device "door" {
  worker = "rak"
}

device "nowhere" {
  platform = "linux/s390x"
  runtime  = "dockre"
}

registry "registry.example" {
  embedded = true
}

release {
  emulation   = "never"
  media_types = "oci"
  fail_on     = "eror"
  arch_tags   = "{tag}"
}
