target "app" {
  platforms = ["linux/amd64", "linux/arm64"]
  tags      = ["localhost:5000/app:1"]
}

release { require_devices = ["linux/arm64", "linux/arm/v6"] }
