target "c" {
  args = { a = 1, b = true, c = "x", d = null }
}
