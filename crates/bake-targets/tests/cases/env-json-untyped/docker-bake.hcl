variable "L" {
  default = ["a"]
}
target "default" {
  args = { l = jsonencode(L) }
}
