audit {
  ignore   = ["created-skew", "elf-arch"]
  severity = { size-divergence = "fatal", nonsense = "note" }
  allow    = ["/usr/lib/firmware/**", "[", ""]
}

target "app" {
  tags = ["registry.example/app:1"]
  audit {
    ignore  = ["setuids"]
    ignored = []
  }
}
