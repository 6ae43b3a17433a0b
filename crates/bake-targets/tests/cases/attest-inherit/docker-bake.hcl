target "p" {
  attest = ["type=provenance,mode=min", "type=sbom"]
  output=["type=docker"]
 ssh=["default"]
}
target "c" {
  inherits = ["p"]
  attest = ["type=provenance,mode=max"]
 ssh=["default"]
  cache-from=["type=gha","type=gha"]
}
