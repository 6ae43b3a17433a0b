variable "L" {
  type = list(string)
  default = ["a", "b"]
}
variable "M" {
  type = map(number)
  default = { x = 1, y = "2" }
}
variable "O" {
  type = object({ a = string, b = number, c = list(bool) })
  default = { a = "q", b = 1, c = [true, "false"] }
}
variable "S" {
  type = set(string)
  default = ["b", "a", "b"]
}
variable "T" {
  type = tuple([string, number])
  default = ["a", "1"]
}
variable "NUM" {
  type = number
  default = "12"
}
variable "UNSET" {
  type = string
}
target "default" {
  args = {
    l = join(",", L)
    m = M.x + M["y"]
    o = "${O.a} ${O.b} ${O.c[1]}"
    s = join(",", S)
    t = T[1] + 1
    n = NUM
    u = UNSET == null ? "null" : "set:${UNSET}"
  }
}
