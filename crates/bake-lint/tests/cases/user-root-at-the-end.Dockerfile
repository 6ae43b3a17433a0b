FROM node:22-slim AS build
USER node
FROM build
ARG APP_USER=root
COPY --chown=node . .
USER $APP_USER
