target "app" {
  tags = ["app:1"]
}

worker "rack" { address = "ssh://a" }
worker "rack" { address = "ssh://b" }

device "here" {
  host   = "local"
  worker = "rack"
}

device "dash" { host = "-oProxyCommand=x" }
device "odd" {
  host     = "local"
  platform = "linux/s390x"
}
