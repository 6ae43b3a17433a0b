FROM node:14
MAINTAINER The Team <team@example.org>
RUN apt-get update
RUN apt-get install -y vim git curl
ADD . /usr/src/app
WORKDIR /usr/src/app
RUN npm install -g pm2 gulp
RUN npm install
EXPOSE 8080
CMD pm2-docker start process.json
