FROM node:22-slim AS bad
WORKDIR /app
COPY . .
RUN npm ci
FROM node:22-slim AS good
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci
COPY . .
RUN npm run build
FROM python:3.13-slim AS py
ADD ./ /app
RUN pip install -r /app/requirements.txt
FROM golang:1.25 AS go
COPY --link . /src
RUN cd /src && go mod download && go build ./...
FROM golang:1.25 AS mounted
COPY . /src
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build cd /src && go build ./...
FROM node:22-slim AS tools
COPY . .
RUN npm install -g serve
FROM node:22-slim
COPY --from=good . .
RUN npm ci
