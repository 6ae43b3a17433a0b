target "default" {
  tags = ["${NOPE}"]
}
