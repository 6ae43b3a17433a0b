FROM node:22-bookworm-slim
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
RUN curl -fsSL https://example.com/install.tgz | tar xz -C /opt
SHELL ["/bin/sh", "-c"]
RUN curl -fsSL https://example.com/install.tgz | tar xz -C /opt
RUN /bin/bash -c "set -eo pipefail; curl -f https://example.com/a | sha256sum"
RUN yes | some-installer
RUN cat /proc/cpuinfo | grep -c processor > /cpus
RUN ps aux | grep -v grep || true
RUN find / -name '*.pyc' -print0 | xargs -0 rm -f
RUN echo "deb http://x y z" | tee /etc/apt/sources.list.d/x.list && printf '%s\n' a b | sort > /c
RUN test "$(node --version | cut -d. -f1)" = v22
USER node
