FROM busybox:1.36 AS build
RUN cd /tmp && make
FROM busybox:1.36 AS build
LABEL org.opencontainers.image.authors="someone"
CMD ["echo", "two"]
EXPOSE 80/tcp
