x = "from-a"
target "t" {
  args = { v = x }
}
