variable "V" {
  default = "abc"
  validation {
    condition = V != ""
    error_message = "V must be set"
  }
  validation {
    condition = strlen(V) > 2
    error_message = "V is too short: ${V}"
  }
}
target "default" {
  args = { v = V }
}
