target "a" {
  inherits = ["b"]
  args = {a="1"}
}
target "b" {
  inherits = ["a"]
  args = {b="1"}
}
