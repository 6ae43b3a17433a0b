target "c" {
  secret = ["id=HOME", "id=x,source=/etc/hostname", "type=file,id=y,src=/etc/passwd", "id=z,env=HOME", {id="q",src="/etc/passwd"}]
}
