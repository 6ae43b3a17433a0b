target "default" {
  args = {a="<>&\u2028", b="$${X} %%{y}"}
  labels = {c="$${X}"}
  tags=["$${X}"]
  dockerfile-inline="RUN $${X}"
 annotations=["$${x}=1"]
}
