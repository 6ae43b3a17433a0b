FROM debian:12-slim
RUN set -eux; \
    for i in 1 2 3; do apt-get update && break || sleep 5; done; \
    apt-get install -y --no-install-recommends \
      ca-certificates=20230311 \
      # the shell of the entry point
      tini; \
    rm -rf /var/lib/apt/lists/*
RUN if [ -n "${EXTRA:-}" ]; then \
      apt-get update; \
      apt-get install -y --no-install-recommends $EXTRA; \
      apt-get clean; \
      rm -rf /var/lib/apt/lists/*; \
    fi
RUN install_packages() { apt-get update && apt-get install -y --no-install-recommends "$@" && rm -rf /var/lib/apt/lists/*; } && install_packages jq xz-utils
USER 1000
ENTRYPOINT ["tini", "--"]
