FROM debian:12-slim
RUN apt-get update && apt-get install -y --no-install-recommends wget && wget -q https://example.com/big.tar && rm -rf /var/lib/apt/lists/*
RUN tar xf big.tar
RUN rm big.tar
COPY secrets.tgz /tmp/
RUN tar xf /tmp/secrets.tgz && rm /tmp/secrets.tgz
RUN rm -rf /usr/share/doc /usr/share/man
RUN npm ci
RUN npm cache clean --force
RUN rm -f /etc/nginx/conf.d/default.conf
USER 1
