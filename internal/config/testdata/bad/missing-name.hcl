group "default" {
  targets = ["app", "ap"]
}

target "app" {
  inherits    = ["_comon"]
  annotations = ["index:title", "indx:a=b"]
  network     = "bridge"
}

target "_common" {}

target "a" { inherits = ["b"] }
target "b" { inherits = ["a"] }
