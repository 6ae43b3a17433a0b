target "t" {
  args = { a = "1", b = "1" }
  tags = ["x"]
}
target "t" {
  args = { b = "2" }
  tags = ["y"]
}
