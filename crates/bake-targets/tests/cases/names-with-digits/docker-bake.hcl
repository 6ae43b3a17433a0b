target "1a-B_c" {}
