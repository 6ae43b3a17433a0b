target "base" {
  tags=["b"]
  entitlements=["network.host"]
}
target "a" {
  contexts = { base = "target:base" }
}
