target "default" {
  tags = "x"
}
