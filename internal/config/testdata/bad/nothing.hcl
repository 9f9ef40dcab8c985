variable "A" { default = "1" }
