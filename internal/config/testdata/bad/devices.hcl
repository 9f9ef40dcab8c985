target "app" {
  platforms = ["linux/amd64"]
  tags      = ["localhost:5000/app:1"]
  smoke {
    expect { files = ["etc/app.conf"] }
  }
}

device "shell" { host = "pi@door.lan; reboot" }
device "dash" { host = "-oProxyCommand=reboot" }
device "pinned" {
  host       = "pi@door.lan"
  host_key   = "MD5:aa:bb"
  accept_new = true
}
device "here" {
  host             = "local"
  lend_credentials = true
  pull_timeout     = "soon"
}
device "rack" {
  worker   = "auto"
  run_args = ["--privileged"]
}

device "gone" {
  host     = "local"
  run_args = ["--env=A=1", "--rm", "--name=mine"]
}

release { require_devices = ["linux/amd46"] }

device "group" {
  host     = "pi@door.lan"
  hosts    = ["pi@pi[1-20].lan"]
  host_key = "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
}

device "range" { hosts = ["pi[9-3].lan", "local", "a b"] }

device "empty" { hosts = [] }

device "same" { hosts = ["pi@pi1", "root@pi1"] }

device "where" {
  host            = "pi@door.lan"
  path            = "docker"
  silence         = "soon"
  connect_timeout = "-1s"
}

device "what" {
  host = "pi@door.lan"
  path = "/opt/dockerd-rootless"
}

device "boxed" {
  worker = "auto"
  sudo   = true
}
