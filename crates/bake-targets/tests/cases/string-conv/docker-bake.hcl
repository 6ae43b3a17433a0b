target "default" {
  context = 5
  pull = "true"
  no-cache = "false"
  shm-size = 128
  tags = [1, true]
}
