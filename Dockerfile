# check=error=true
#
# The image of bake, built by bake:
#
#   bake build -t bake .                              the program and what it needs of a system, which is little
#   bake build -t bake:ci --target ci .               with a shell, git and helpers: for jobs of CI systems
#   bake build -t bake --build-context files=DIR .    nothing is compiled: DIR has usr/bin/bake and
#                                                     etc/ssl/certs/ca-certificates.crt

FROM rust:1.95-slim-bookworm AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates musl-tools \
    && rm -rf /var/lib/apt/lists/*
RUN rustup target add "$(uname -m)-unknown-linux-musl"
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    target="$(uname -m)-unknown-linux-musl" \
    && cargo build --release --locked --package bake --target "$target" \
    && install -D "target/$target/release/bake" /files/usr/bin/bake \
    && install -D -m 644 /etc/ssl/certs/ca-certificates.crt /files/etc/ssl/certs/ca-certificates.crt

# Nothing but files, so that a directory can stand in for it.
FROM scratch AS files
COPY --from=build /files /

FROM debian:bookworm-slim AS ci
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates git passt uidmap \
    && rm -rf /var/lib/apt/lists/*
# Gives the user a range of subordinate IDs too.
RUN useradd --create-home --uid 1000 bake
COPY --from=files /usr/bin/bake /usr/bin/bake
LABEL org.opencontainers.image.title="bake" \
      org.opencontainers.image.description="Compiles Dockerfiles into OCI images, without a daemon; with tools for CI" \
      org.opencontainers.image.source="https://github.com/bake-build/bake" \
      org.opencontainers.image.licenses="Apache-2.0"
USER bake
WORKDIR /home/bake
CMD ["bake", "--help"]

FROM scratch
COPY --from=files / /
COPY <<EOF /etc/passwd
root:x:0:0:root:/:/usr/bin/bake
bake:x:1000:1000:bake:/home/bake:/usr/bin/bake
EOF
LABEL org.opencontainers.image.title="bake" \
      org.opencontainers.image.description="Compiles Dockerfiles into OCI images, without a daemon" \
      org.opencontainers.image.source="https://github.com/bake-build/bake" \
      org.opencontainers.image.licenses="Apache-2.0"
# A directory that WORKDIR makes belongs to the user.
USER 1000:1000
WORKDIR /tmp
WORKDIR /var/lib/bake
# Layers are overlay mounts, which do not stack on those of the engine; a volume is none.
VOLUME /var/lib/bake
ENV BAKE_ROOT=/var/lib/bake/store
WORKDIR /home/bake
ENTRYPOINT ["/usr/bin/bake"]
CMD ["--help"]
