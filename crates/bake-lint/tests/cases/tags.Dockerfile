FROM debian:latest AS a
FROM debian AS b
FROM debian:12.8-slim AS c
FROM registry.example.com:5000/team/app AS d
FROM registry.example.com:5000/team/app:1.4 AS e
FROM debian@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 AS f
FROM debian:latest@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 AS g
FROM scratch AS h
FROM c AS i
FROM C
FROM docker.io/library/node:lts
FROM node:latest-alpine
