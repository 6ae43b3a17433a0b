target "a" {
  output=["type=docker"]
  platforms=["linux/amd64"]
}
