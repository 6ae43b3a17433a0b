target "app" {
  name = "app-${item.n}"
  matrix = {
    item = [{ n = "a", v = 1 }, { n = "b", v = 2 }]
  }
  args = { V = item.v }
  tags = ["x:${item.n}"]
}
group "default" {
  targets = ["app"]
}
