FROM --platform=$BUILDPLATFORM tonistiigi/xx:1.5.0 AS xx
FROM --platform=$BUILDPLATFORM debian:bookworm-slim AS build-amd64
COPY --from=xx / /
ARG TARGETPLATFORM
RUN xx-apt-get update && xx-apt-get install -y --no-install-recommends xx-c-essentials zlib1g-dev
FROM --platform=linux/arm64 debian:bookworm-slim AS build-arm64
RUN dpkg --add-architecture armhf && apt-get update && apt-get install -y --no-install-recommends libc6-dev:armhf
FROM build-${TARGETARCH} AS build
RUN make
FROM --platform=linux/amd64 debian:bookworm-slim AS tools
FROM debian:bookworm-slim
COPY --from=build /out /
COPY --from=tools /bin/true /x
USER 65534
