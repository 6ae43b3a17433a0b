target "base" {
  dockerfile = "base.Dockerfile"
  output = ["type=docker"]
}
target "app" {
  contexts = { baseapp = "target:base", src = "../src", alpine = "docker-image://alpine:3.20", empty = "" }
}
