variable "REGISTRY" { default = "registry.example/acme" }
variable "VERSION" {
  default = "1.2.3"
  validation {
    condition     = VERSION != ""
    error_message = "VERSION must not be empty."
  }
}
variable "DEBUG" { default = false }
variable "MIRRORS" {
  type    = list(string)
  default = ["a.example", "b.example"]
}
commit = "abc${upper("d")}"

function "tag" {
  params = [image, suffix]
  result = ["${REGISTRY}/${image}:${VERSION}${suffix}", notequal("", suffix) ? "" : "${REGISTRY}/${image}:latest"]
}
function "all" {
  params          = []
  variadic_params = words
  result          = join("+", words)
}

group "default" { targets = ["app", "tools"] }
group "everything" { targets = ["default", "docs"] }

target "_common" {
  args = {
    GO_VERSION = "1.26"
    UNSET      = null
    COMMIT     = commit
    WORDS      = all("x", "y")
  }
  labels     = { "org.opencontainers.image.source" = "https://example.com/${REGISTRY}" }
  platforms  = ["linux/amd64", "linux/arm64"]
  attest     = ["type=provenance,mode=max", { type = "sbom" }]
  cache-from = ["type=registry,ref=${REGISTRY}/cache", "${REGISTRY}/cache:2"]
  secret     = ["id=token,env=TOKEN", { id = "key", src = "key.pem" }]
  ssh        = ["default", "git=a.pem,b.pem"]
}

target "app" {
  inherits    = ["_common"]
  context     = "app"
  dockerfile  = "build/Dockerfile"
  contexts    = { base = "target:base", alpine = "docker-image://alpine:3.20" }
  tags        = tag("app", "")
  annotations = ["index:org.opencontainers.image.title=app $${x}", "org.opencontainers.image.vendor=acme"]
  cache-to    = ["type=registry,ref=${REGISTRY}/cache,mode=max"]
  no-cache-filter = ["test"]
  network     = "host"
  shm-size    = "128m"
  ulimits     = ["nofile=1024:1024"]
  extra-hosts = { db = "10.0.0.1" }
  args        = { DEBUG = DEBUG, MIRROR = MIRRORS[0] }
}

target "base" {
  inherits = ["_common"]
  dockerfile-inline = <<EOT
FROM scratch
EOT
}

target "tools" {
  name     = "tools-${item.name}-${replace(arch, ".", "-")}"
  matrix   = {
    item = [{ name = "lint", target = "lint" }, { name = "fmt", target = "format" }]
    arch = ["v1.0", "v2.0"]
  }
  inherits = ["_common"]
  target   = item.target
  tags     = tag("tools-${item.name}", "-${arch}")
  pull     = true
}

target "docs" {
  context = "docs"
  args    = { GO_VERSION = target._common.args.GO_VERSION }
  output  = ["type=local,dest=out"]
}
