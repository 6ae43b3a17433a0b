FROM ubuntu:22.04
LABEL org.opencontainers.image.source=https://github.com/acme/toolbox
ARG TERRAFORM_VERSION=1.9.8
ARG KUBECTL_VERSION=v1.31.2
ENV DEBIAN_FRONTEND=noninteractive
RUN apt-get -qq update && apt-get -qqy install --no-install-recommends \
        awscli \
        ca-certificates curl \
        git \
        gnupg \
        jq \
        unzip \
    && rm -rf /var/lib/apt/lists/* /tmp/* /var/tmp/*
RUN curl -fsSLo /tmp/terraform.zip "https://releases.hashicorp.com/terraform/${TERRAFORM_VERSION}/terraform_${TERRAFORM_VERSION}_linux_amd64.zip" && \
    unzip /tmp/terraform.zip -d /usr/local/bin && \
    rm /tmp/terraform.zip
RUN curl -LO "https://dl.k8s.io/release/${KUBECTL_VERSION}/bin/linux/amd64/kubectl" && \
    install -o root -g root -m 0755 kubectl /usr/local/bin/kubectl && rm kubectl
RUN curl -fsSL https://raw.githubusercontent.com/helm/helm/main/scripts/get-helm-3 | bash
RUN mkdir -m 0755 -p /etc/apt/keyrings \
    && curl -fsSL https://download.docker.com/linux/ubuntu/gpg | gpg --dearmor -o /etc/apt/keyrings/docker.gpg \
    && echo "deb [arch=$(dpkg --print-architecture) signed-by=/etc/apt/keyrings/docker.gpg] https://download.docker.com/linux/ubuntu $(. /etc/os-release && echo "$VERSION_CODENAME") stable" | tee /etc/apt/sources.list.d/docker.list > /dev/null \
    && apt-get update && apt-get install -y docker-ce-cli && rm -rf /var/lib/apt/lists/*
RUN groupadd -g 1000 ci && useradd -m -u 1000 -g ci -s /bin/bash ci
USER ci
