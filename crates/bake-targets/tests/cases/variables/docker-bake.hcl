variable "TAG" {
  default = "latest"
  description = "the tag"
}
variable "N" {
  default = 3
}
variable "YES" {
  default = true
}
variable "NONE" {}
variable "NULL" {
  default = null
}
target "default" {
  tags = ["app:${TAG}", "app:v${N}", YES ? "app:yes" : ""]
  args = {
    TAG = TAG
    N = N
    YES = YES
    NONE = NONE
    NULL = NULL
    SUM = N + 2 * 4
    FLOAT = 1.5
    DIV = 7 / 2
    BIG = 123456789012345678901234567890
    THIRD = 1 / 3
    TENTHS = 0.1 + 0.2
    NEG = -N
    MOD = 7 % 3
    EXP = 1e3
  }
}
