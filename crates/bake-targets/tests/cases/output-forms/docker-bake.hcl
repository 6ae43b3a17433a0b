target "c" {
  output = ["out", "-", "type=tar,dest=x.tar", "type=image,\"name=a,b\",push=true", {type="local",dest="d"}, "type=cacheonly"]
}
