function "f" {
  params = [x]
  result = f(x)
}
target "default" {
  args = { a = f("x") }
}
