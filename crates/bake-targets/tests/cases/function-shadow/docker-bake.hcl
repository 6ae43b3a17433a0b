function "upper" {
  params = [x]
  result = "mine"
}
target "default" {
  args = { a = upper("x") }
}
