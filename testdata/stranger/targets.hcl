# What another repository releases: no prepare, no Go, a file in an image.

variable "REPO" { default = "localhost:5000/stranger" }

group "default" { targets = ["app"] }

target "base" {
  dockerfile-inline = <<EOT
FROM scratch
COPY targets.hcl /base
EOT
}

target "app" {
  contexts          = { base = "target:base" }
  dockerfile-inline = <<EOT
FROM base
COPY magefile.go /app
EOT
  platforms         = ["linux/amd64", "linux/riscv64"]
  tags              = ["${REPO}:1"]
}
