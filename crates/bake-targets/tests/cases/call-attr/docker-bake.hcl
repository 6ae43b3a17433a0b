target "default" {
  call = "check"
}
