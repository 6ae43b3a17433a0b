x = "from-b"
target "t" {
  context = "b"
}
