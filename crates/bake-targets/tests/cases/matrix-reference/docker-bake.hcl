variable "VERSIONS" {
  default = ["1", "2"]
}
target "base" {
  name = "base-${v}"
  matrix = { v = VERSIONS }
  args = { V = v }
}
target "app" {
  name = "app-${v}"
  matrix = { v = VERSIONS }
  inherits = ["base-${v}"]
  contexts = { base = "target:base-${v}" }
}
