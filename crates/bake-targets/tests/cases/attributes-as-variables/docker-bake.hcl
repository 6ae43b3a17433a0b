base = "x-${other}"
other = upper("abc")
target "default" {
  args = { a = base, b = other }
}
