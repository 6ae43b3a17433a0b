FROM debian:12.5-slim AS unused
USER root
FROM debian:12.5-slim AS base
USER 10001
FROM base AS tools
USER root
RUN make
USER 10001
FROM tools AS final
USER 0
RUN chmod 755 /x
USER 10001:10001
