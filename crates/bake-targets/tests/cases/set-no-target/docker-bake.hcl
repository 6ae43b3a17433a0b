target "a" {
}
