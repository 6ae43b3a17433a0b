target "a" {
  output = ["type=image,name=x"]
}
target "b" {}
target "c" {
  output = ["type=local,dest=o"]
}
