function "increment" {
  params = [number]
  result = number + 1
}
function "all" {
  params = [first]
  variadic_params = rest
  result = join("-", concat([first], rest))
}
function "twice" {
  params = [x]
  result = increment(increment(x))
}
target "default" {
  args = {
    a = increment(1)
    b = all("x", "y", "z")
    c = twice(5)
  }
}
