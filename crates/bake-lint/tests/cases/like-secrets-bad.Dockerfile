FROM node:22-slim
ARG NPM_TOKEN
ENV AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY
COPY .npmrc /root/.npmrc
COPY id_rsa /root/.ssh/id_rsa
WORKDIR /app
COPY package.json .
RUN echo "//registry.npmjs.org/:_authToken=${NPM_TOKEN}" > .npmrc && npm install && rm -f .npmrc
RUN chmod 600 /root/.ssh/id_rsa && git clone git@github.com:acme/private.git
CMD node index.js
