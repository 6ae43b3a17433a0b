variable "TAG" {
  default = "latest"
}
variable "N" {
  default = 3
}
variable "YES" {
  default = true
}
variable "NONE" {}
target "default" {
  args = { a = TAG, b = N + 1, c = YES, d = NONE }
}
