target "x.y" {}
