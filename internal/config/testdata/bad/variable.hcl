variable "VERSION" {
  default = "x"
  validation {
    condition     = VERSION != "x"
    error_message = "VERSION is still x."
  }
}

target "app" {
  tags = ["app:${VERSION}"]
}
