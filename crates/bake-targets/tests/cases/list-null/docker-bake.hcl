target "c" {
  tags = ["a", null, ""]
}
