target "default" {
  pull = "maybe"
}
