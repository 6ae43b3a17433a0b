FROM rust:1.91-slim-trixie AS build
WORKDIR /app
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/app/target cargo build --release && cp target/release/app /app-bin
RUN --mount=type=cache,target=/root/.cache,id=pip-$TARGETARCH pip install x
RUN --mount=type=cache,target=/var/cache/dnf dnf install -y x
RUN --mount=type=cache,target=/var/cache/apk apk add git
RUN --mount=type=tmpfs,target=/tmp --mount=type=cache,target=/root/.npm,sharing=locked npm ci
RUN --mount=type=cache,target=/usr/local/share/.cache/yarn/v6 yarn install --frozen-lockfile
RUN --mount=type=cache,target=/root/.bundle/cache bundle install
RUN --mount=type=cache,target=/root/.m2 mvn -B package
FROM debian:trixie-slim
COPY --from=build /app-bin /usr/local/bin/app
USER 1
