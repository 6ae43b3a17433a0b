# syntax=docker/dockerfile:1
FROM node:22-slim AS deps
WORKDIR /app
COPY package.json package-lock.json ./
RUN --mount=type=secret,id=npmrc,target=/root/.npmrc,required \
    --mount=type=cache,target=/root/.npm \
    npm ci
RUN --mount=type=ssh --mount=type=cache,target=/var/cache/apt,sharing=locked --mount=type=cache,target=/var/lib/apt,sharing=locked \
    apt-get update && apt-get install -y --no-install-recommends git openssh-client
ENV TOKEN_TTL=3600 PUBLIC_KEY_URL=https://example.com/key.pem
FROM gcr.io/distroless/nodejs22-debian12
COPY --from=deps --link /app /app
CMD ["/app/index.js"]
