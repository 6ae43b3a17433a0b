group "default" {
  targets = ["g1", "c", "a"]
}
group "g1" {
  targets = ["a", "b"]
}
target "a" {}
target "b" {}
target "c" {
  context = "c"
}
