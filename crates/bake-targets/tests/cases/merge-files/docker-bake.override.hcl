variable "X" {
  default = "override"
}
target "app" {
  dockerfile = "over"
  cache-from = ["type=gha"]
}
group "default" {
  targets = ["app", "extra"]
}
target "extra" {}
