foo "x" {
}
target "default" {}
