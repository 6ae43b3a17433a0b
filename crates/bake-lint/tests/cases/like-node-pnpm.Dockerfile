FROM node:22-alpine3.20 AS builder
RUN corepack enable && corepack prepare pnpm@9.12.3 --activate
WORKDIR /repo
COPY pnpm-lock.yaml pnpm-workspace.yaml package.json ./
COPY apps/web/package.json apps/web/
COPY packages/ui/package.json packages/ui/
RUN --mount=type=cache,id=pnpm,target=/root/.local/share/pnpm/store \
    pnpm install --frozen-lockfile
COPY . .
RUN pnpm --filter web build \
 && pnpm deploy --filter web --prod /out

FROM node:22-alpine3.20
RUN addgroup -S -g 1001 web && adduser -S -u 1001 -G web web
WORKDIR /app
COPY --from=builder --chown=web:web /out .
USER web
CMD ["node_modules/.bin/next", "start", "-p", "3000"]
