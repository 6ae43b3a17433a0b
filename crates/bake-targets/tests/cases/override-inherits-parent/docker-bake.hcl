target "p" {
  args = {a="1"}
}
target "c" {
  inherits = ["p"]
}
