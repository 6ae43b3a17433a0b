FROM fpco/stack-build-small:lts-22.40 as build
RUN mkdir /opt/build
COPY . /opt/build
RUN cd /opt/build && stack build --system-ghc
RUN cd /opt/build && cp "$(stack path --local-install-root --system-ghc)/bin/site" /opt/site
FROM ubuntu:24.04
RUN apt-get update && apt-get install -y \
  ca-certificates \
  libgmp10
RUN apt-get clean && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/site .
EXPOSE 3000
CMD ["./site", "-o", "production"]
