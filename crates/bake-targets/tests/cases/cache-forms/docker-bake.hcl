target "c" {
  cache-from = ["a/b:c,d/e", "ref=x", "type=local,src=q", ""]
 cache-to=["a/b"]
}
