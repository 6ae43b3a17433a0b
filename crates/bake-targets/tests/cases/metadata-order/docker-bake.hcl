target "z" {}
target "a" {}
target "m" {}
