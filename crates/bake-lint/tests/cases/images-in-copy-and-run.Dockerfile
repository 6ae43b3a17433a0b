FROM debian:12.5-slim AS build
COPY --from=nginx:latest /etc/nginx/nginx.conf /a
COPY --from=nginx /etc/nginx/nginx.conf /b
RUN --mount=type=bind,from=golang:latest,target=/x true
RUN --mount=from=busybox,target=/y true
COPY --from=5 /a /a
COPY --from=later /a /a
COPY --from=build /a /b
FROM debian:12.5-slim AS later
COPY --from=BUILD /a /a
COPY --from=0 /a /a
COPY --from=biuld /a /a
COPY --from=registry.example.com/tools:1.2 /t /t
COPY --from=debian@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 /t /t
RUN --mount=type=cache,from=build,target=/c true
