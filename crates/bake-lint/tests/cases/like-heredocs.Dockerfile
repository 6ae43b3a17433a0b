# syntax=docker/dockerfile:1
FROM debian:12.8-slim
RUN <<EOT
set -eu
apt-get update
apt-get install -y --no-install-recommends ca-certificates curl
rm -rf /var/lib/apt/lists/*
EOT
COPY <<EOF /etc/app/config.ini
[server]
port = 8080
path = \$HOME
EOF
COPY <<-"SCRIPT" /usr/local/bin/start
	#!/bin/sh
	exec /usr/local/bin/app "$@"
SCRIPT
RUN <<PY python3
import sys
print(sys.version)
PY
RUN cat <<CONF > /etc/app/extra.conf && chmod 0644 /etc/app/extra.conf
key = "$(date)"
CONF
RUN chmod 755 /usr/local/bin/start
USER 65532
ENTRYPOINT ["/usr/local/bin/start"]
