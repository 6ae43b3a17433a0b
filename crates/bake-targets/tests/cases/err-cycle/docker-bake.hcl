a = b
b = a
target "default" {}
