target "app-a" {}
target "app-b" {}
target "x" {}
