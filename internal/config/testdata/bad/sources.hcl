target "app" {
  sources    = ["docker.io/acme/App:1", "docker.io/acme/app:1-armv6"]
  tags       = ["docker.io/acme/app:1"]
  context    = "app"
  dockerfile = "Dockerfile.app"

  prepare { command = ["make"] }

  platform "linux/arm/v6" {
    source = "docker.io/acme/app:1-armv5"
    args   = { LIGHT = "1" }
  }
  platform "linux/arm64" { architecture = "" }
  platform "linux/arm/v7" { variant = "v77" }
}

release {
  sign { key = "" }
}
