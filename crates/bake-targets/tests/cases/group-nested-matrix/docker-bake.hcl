group "default" {
  targets = [for v in ["1","2"] : "t-${v}"]
}
target "t" {
  name = "t-${v}"
  matrix = { v = ["1","2"] }
}
