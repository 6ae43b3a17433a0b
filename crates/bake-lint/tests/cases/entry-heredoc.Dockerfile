FROM alpine:3.22
COPY --chmod=755 <<EOF /entry.sh
#!/bin/sh
set -e
for f in /init.d/*.sh; do . "$f"; done
exec "$@"
EOF
USER 1000
ENTRYPOINT ["/entry.sh"]
