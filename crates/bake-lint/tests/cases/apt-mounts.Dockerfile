FROM debian:12-slim
RUN --mount=type=cache,target=/var/cache/apt,sharing=locked --mount=type=cache,target=/var/lib/apt,sharing=locked \
    apt-get update && apt-get install -y --no-install-recommends make
RUN --mount=type=tmpfs,target=/var/lib/apt/lists apt-get update && apt-get install -y --no-install-recommends cmake
RUN --mount=type=cache,target=/var/cache/apt apt-get update && apt-get install -y --no-install-recommends gdb
RUN apt-get update && apt-get install -y --no-install-recommends git && apt-get clean
RUN apt-get update && apt-get install -y --no-install-recommends jq && rm -rf /var/lib/apt/lists/*
RUN apt-get update && apt-get install -y --no-install-recommends xz-utils && rm -rf /var/lib/apt/lists
RUN apt-get update && apt-get install -y --no-install-recommends zip; rm -rf /var/cache/apt /var/lib/apt/*
RUN rm -rf /var/lib/apt/lists/* && apt-get update && apt-get install -y --no-install-recommends less
