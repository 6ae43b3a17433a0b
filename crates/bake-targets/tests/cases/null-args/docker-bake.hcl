variable "V" {
  default = null
}
target "t" {
  args = { a = null, b = V, c = V == null ? "was-null" : V }
  labels = { l = null }
  context = null
  tags = null
  target = V
}
