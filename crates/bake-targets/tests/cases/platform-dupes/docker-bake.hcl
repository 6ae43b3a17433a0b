target "default" {
  platforms = ["linux/amd64","linux/amd64",""]
  no-cache-filter=["a","a"]
}
