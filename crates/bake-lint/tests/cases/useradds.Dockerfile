FROM debian:12-slim
ARG USERNAME=dev
ARG UID=1000
ARG GID=$UID
RUN groupadd --gid $GID $USERNAME \
    && useradd --uid $UID --gid $GID -m $USERNAME \
    && apt-get update \
    && apt-get install -y --no-install-recommends sudo \
    && echo $USERNAME ALL=\(root\) NOPASSWD:ALL > /etc/sudoers.d/$USERNAME \
    && chmod 0440 /etc/sudoers.d/$USERNAME \
    && rm -rf /var/lib/apt/lists/*
RUN useradd -u 1234567890 big && useradd -l -u 1234567891 ok && adduser --uid 99999999 --disabled-password x
USER $USERNAME
