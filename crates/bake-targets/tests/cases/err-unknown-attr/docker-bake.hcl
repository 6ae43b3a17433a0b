target "default" {
  tagss = ["a"]
}
