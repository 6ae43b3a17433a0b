target "a" {
  args = { x = "1" }
  tags = ["t1"]
  cache-from = ["type=gha"]
  output = ["type=docker"]
}
target "b" {
  inherits = ["a"]
}
