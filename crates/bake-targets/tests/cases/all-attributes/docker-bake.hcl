target "default" {
  description = "all of it"
  annotations = ["index,manifest:a=b", "c=d"]
  attest = ["type=provenance,mode=max", "type=sbom", { type = "sbom", generator = "x" }, "type=provenance,disabled=true"]
  args = { A = "$${x}" }
  cache-from = ["user/app:cache", "type=local,src=path/to/cache", { type = "s3", region = "eu-west-1", bucket = "mybucket" }, "type=gha"]
  cache-to = ["type=local,dest=path/to/cache,mode=max", { type = "inline" }, "type=registry,ref=a/b:c"]
  call = "check"
  context = "dir"
  contexts = { a = "b" }
  dockerfile-inline = "FROM alpine\nRUN echo ${"x"} $${y}"
  dockerfile = "F"
  entitlements = ["network.host", "security.insecure"]
  extra-hosts = { my_hostname = "8.8.8.8", other = null }
  labels = { l = "v", m = 3 }
  network = "host"
  no-cache-filter = ["stage1", "stage2"]
  no-cache = false
  output = ["type=docker", "type=registry", "out", "-", { type = "local", dest = "d" }, "type=image,name=a/b,push=true,compression=zstd", "type=oci,dest=x.tar"]
  platforms = ["linux/amd64", "linux/arm64"]
  pull = true
  secret = ["id=kube,src=/etc/hostname", "type=env,id=TOKEN,env=HOME", "type=file,id=f,src=/etc/passwd", { id = "x", env = "E" }, "id=HOME"]
  shm-size = "128m"
  ssh = ["default", "key=/path/to/key", { id = "k2", paths = ["/path/to/key"] }, "k3=/path/to/key,/path/to/key"]
  tags = ["a:b", "a:b", "c"]
  target = "t"
  ulimits = ["nofile=1024:1024", "nproc=5"]
}
