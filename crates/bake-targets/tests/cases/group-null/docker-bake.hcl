group "g" {
  targets = null
}
target "a" {}
