variable "L" {
  type = list(string)
  default = ["a", "b"]
}
variable "N" {
  type = list(number)
}
variable "M" {
  type = map(string)
  default = {}
}
variable "B" {
  type = bool
}
target "default" {
  args = {
    l = join("|", L)
    n = sum(N...)
    m = jsonencode(M)
    b = B
  }
}
function "sum" {
  params = []
  variadic_params = xs
  result = length(xs)
}
