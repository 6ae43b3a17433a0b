target "default" {
  tags = true ? ["a"] : []
  args = false ? { a = "x" } : null
}
