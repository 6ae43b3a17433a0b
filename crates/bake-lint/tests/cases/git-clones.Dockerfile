FROM alpine/git:2.45.2 AS source
ARG REF=main
RUN git clone --depth 1 --branch ${REF} https://github.com/acme/app.git /src \
 && rm -rf /src/.git
FROM node:22-alpine AS build
COPY --from=source /src /src
WORKDIR /src
RUN apk add --no-cache --virtual .gyp python3 make g++ && npm ci && apk del .gyp
RUN npm run build && npm prune --omit=dev
FROM node:22-alpine
COPY --from=build --chown=node:node /src /app
USER node
WORKDIR /app
CMD npm start -- --port $PORT
