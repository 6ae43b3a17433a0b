# check=skip=JSONArgsRecommended
ARG BASE_IMAGE=alpine:3.19.1
ARG GO_IMAGE=golang:1.23.1-alpine
ARG JS_PLATFORM=linux/amd64
FROM --platform=${JS_PLATFORM} node:20-alpine AS js-builder
ENV NODE_OPTIONS=--max_old_space_size=8000
WORKDIR /tmp/grafana
RUN apk add --no-cache make build-base python3
COPY package.json yarn.lock .yarnrc.yml ./
COPY .yarn .yarn
RUN yarn install --immutable
COPY public public
ENV NODE_ENV=production
RUN yarn build
FROM ${GO_IMAGE} AS go-builder
ARG COMMIT_SHA=""
ARG BUILD_BRANCH=""
RUN if grep -i -q alpine /etc/issue; then apk add --no-cache bash gcc g++ make git; fi
WORKDIR /tmp/grafana
COPY go.* ./
RUN go mod download
COPY pkg pkg
RUN make build-go COMMIT_SHA=${COMMIT_SHA} BUILD_BRANCH=${BUILD_BRANCH}
FROM ${BASE_IMAGE}
LABEL maintainer="Labs <hello@example.com>"
ARG GF_UID="472"
ARG GF_GID="0"
ENV PATH="/usr/share/grafana/bin:$PATH" \
    GF_PATHS_HOME="/usr/share/grafana"
WORKDIR $GF_PATHS_HOME
RUN if grep -i -q alpine /etc/issue; then \
      apk add --no-cache ca-certificates bash curl tzdata musl-utils && \
      apk info -vv | sort; \
    elif grep -i -q ubuntu /etc/issue; then \
      DEBIAN_FRONTEND=noninteractive && \
      apt-get update && \
      apt-get install -y ca-certificates curl tzdata musl && \
      apt-get autoremove -y && \
      rm -rf /var/lib/apt/lists/*; \
    else \
      echo 'ERROR: Unsupported base image' && /bin/false; \
    fi
COPY --from=go-builder /tmp/grafana/conf ./conf
RUN if [ ! $(getent group "$GF_GID") ]; then \
      addgroup -S -g $GF_GID grafana; \
    fi && \
    GF_GID_NAME=$(getent group $GF_GID | cut -d':' -f1) && \
    mkdir -p "$GF_PATHS_HOME/.aws" && \
    adduser -S -u $GF_UID -G "$GF_GID_NAME" grafana && \
    chown -R "grafana:$GF_GID_NAME" "$GF_PATHS_HOME" && \
    chmod -R 777 "$GF_PATHS_HOME/.aws"
COPY --from=go-builder /tmp/grafana/bin/grafana* /tmp/grafana/bin/*/grafana* ./bin/
COPY --from=js-builder /tmp/grafana/public ./public
EXPOSE 3000
USER "$GF_UID"
ENTRYPOINT [ "/run.sh" ]
