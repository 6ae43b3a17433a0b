target "x" {
  tags = ["a"
}
