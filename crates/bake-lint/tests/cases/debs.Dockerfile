FROM debian:12-slim
ADD --checksum=sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 https://example.com/agent.deb /tmp/agent.deb
RUN apt-get update && apt-get install -y --no-install-recommends /tmp/agent.deb && rm -rf /var/lib/apt/lists/* /tmp/agent.deb
RUN dpkg -i /opt/other.deb || (apt-get update && apt-get install -fy --no-install-recommends && rm -rf /var/lib/apt/lists/*)
RUN --mount=type=bind,source=debs,target=/debs dpkg --install /debs/*.deb
USER 1000
