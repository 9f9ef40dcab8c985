target "app" {
  tags = ["a:1"
}
