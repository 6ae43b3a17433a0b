variable "V" {
  default = "a"
  validation {
    condition = strlen(V) > 2
    error_message = "V is too short: ${V}"
  }
}
target "default" {
  args = { v = V }
}
