target "a" {
  args = { X = "1", Y = null }
  tags = ["a:1", "a:2"]
  dockerfile = "a.Dockerfile"
}
target "b" {
  args = target.a.args
  tags = [for t in target.a.tags : replace(t, "a", "b")]
  dockerfile = target.a.dockerfile
  labels = { n = target.a.name, c = target.a.context == null ? "none" : "some" }
}
