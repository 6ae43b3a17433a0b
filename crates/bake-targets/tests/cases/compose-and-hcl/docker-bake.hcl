target "web" {
  args = { A = "hcl", B = "b" }
  tags = ["hcl:1"]
}
target "other" {}
