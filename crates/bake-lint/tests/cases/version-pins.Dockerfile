FROM debian:12.5-slim
ARG MAKE_VERSION=4.3-4.1
RUN PKGS="make=4.3-4.1 gcc=4:12"; apt-get update && apt-get install -y --no-install-recommends $PKGS
RUN apt-get update && apt-get install -y --no-install-recommends ./local.deb /tmp/other.deb
RUN apt-get update && apt-get install -y --no-install-recommends make=${MAKE_VERSION}
RUN apt-get update && apt-get install -y --no-install-recommends -t bookworm-backports make=1 curl
RUN pip install -r requirements.txt
RUN pip install "flask==1.2" 'django>=2' ./wheel.whl git+https://example.com/a.git@v1
RUN pip install flask
RUN npm install -g yarn@1.22 typescript
RUN npm install
RUN apk add --no-cache bash=5.1-r0 curl~=8 "jq>1"
RUN gem install bundler -v 2.1
RUN gem install rails
RUN go install example.com/tool@latest
RUN go install example.com/tool@v1.2.3
