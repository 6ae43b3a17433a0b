FROM debian:12-slim
RUN ["apt-get", "update"]
RUN ["apt-get", "install", "-y", "jq"]
RUN ["/bin/bash", "-c", "apt-get update && apt-get install -y make | tee /log"]
ENTRYPOINT ["/bin/sh", "-c", "exec app \"$@\"", "--"]
CMD []
HEALTHCHECK --interval=5m --timeout=3s CMD curl -f http://localhost/ || exit 1
USER 1
