target "default" {
  dockerfile-inline = <<EOT
FROM alpine
RUN echo "$${HOME}" && echo ${upper("x")}
EOT
}
