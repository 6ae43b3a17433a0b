FROM debian:12-slim
RUN printf 'APT::Install-Recommends "false";\nAPT::Get::Assume-Yes "true";\n' > /etc/apt/apt.conf.d/99ci
COPY apt.conf /etc/apt/apt.conf.d/98proxy
RUN apt-get update && apt-get install jq && rm -rf /var/lib/apt/lists/*
ENV DEBIAN_FRONTEND noninteractive
RUN apt-get -qq -o=Dpkg::Use-Pty=0 update && apt-get -y -qq -o=Dpkg::Use-Pty=0 install xz-utils && apt-get -qq clean && rm -rf /var/lib/apt/lists/*
USER 1000
