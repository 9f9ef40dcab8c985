target "app" {
  tags      = { a = 1 }
  platforms = ["linux/arm6"]
}

target "other" {
  cache-from = ["mode=max"]
  platforms  = ["linux/arm6"]
}
