target "app" {
  name = "app"
  matrix = {
    v = ["a", "b"]
  }
}
