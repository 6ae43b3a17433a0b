target "a" {
  args = { X = "1" }
}
