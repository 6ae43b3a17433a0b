target "c" {
  args = { a = ["x"] }
}
