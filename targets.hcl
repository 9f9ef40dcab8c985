# The default matrix: `go tool mage release` builds testdata/hello for four
# platforms and pushes it to a registry on this machine.

variable "VERSION" { default = "dev" }

target "hello" {
  context     = "testdata/hello"
  platforms   = ["linux/amd64", "linux/arm64", "linux/arm/v7", "linux/arm/v6"]
  tags        = ["localhost:5000/hello:${VERSION}", "localhost:5000/hello:latest"]
  annotations = ["index:org.opencontainers.image.title=hello"]

  # On this machine, once a platform: Go cross-compiles, so no worker needs to
  # emulate a processor.
  prepare {
    command = ["go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -X main.version=${VERSION}", "-o", "dist/$TARGETPLATFORM/hello", "."]
  }

  # Before any tag moves: the image must start and say who it is.
  smoke {
    command = ["--version"]
    expect  { stdout = ["^hello ${VERSION} linux/"] }
  }
}

# The worker proves what is of its own architecture; no Docker is needed.
device "here" { worker = "auto" }

registry "localhost:5000" { embedded = true }
