group "default" {
  targets = ["app", "ap"]
}

target "app" {
  inherits = ["_comon"]
  args     = { A = UNDEFINED }
}

target "_common" {}
