# syntax=docker/dockerfile:1
FROM debian:12   AS   base
# keep this comment
RUN apt-get update && \
    # and this one
    apt-get install -y curl \
    && rm -rf /var/lib/apt/lists/*
EXPOSE 80/tcp	443
WORKDIR /app
USER app
