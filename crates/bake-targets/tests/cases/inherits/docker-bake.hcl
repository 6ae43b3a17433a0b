target "_common" {
  args = { A = "1", B = "1" }
  labels = { l = "common" }
  tags = ["common"]
  platforms = ["linux/amd64"]
  cache-from = ["type=registry,ref=c1"]
  cache-to = ["type=inline"]
  secret = ["id=HOME"]
  no-cache = true
  annotations = ["a=b"]
}
target "mid" {
  inherits = ["_common"]
  args = { B = "2" }
  cache-from = ["c2"]
  secret = ["id=b,env=HOME"]
  annotations = ["c=d"]
}
target "other" {
  args = { B = "3", C = null }
  target = "t"
  pull = true
}
target "default" {
  inherits = ["mid", "other"]
  labels = { l = null, m = "x" }
  tags = []
  platforms = ["linux/arm64", "linux/arm64"]
}
