variable "X" {
  default = "hcl"
}
target "app" {
  args = { A = X, H = "h" }
  tags = ["hcl"]
}
group "default" {
  targets = ["app"]
}
