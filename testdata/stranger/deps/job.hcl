variable "REPO" {}

target "job" {
  dockerfile-inline = "FROM scratch\nCOPY targets.hcl /"
  tags              = ["${REPO}/job:1"]
}
