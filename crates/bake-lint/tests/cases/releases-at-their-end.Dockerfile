FROM ubuntu:18.04 AS a
FROM debian:stretch-slim AS b
FROM centos:7 AS c
FROM node:14-alpine AS d
FROM python:3.7-slim AS e
FROM alpine:3.12 AS f
FROM php:7.4-fpm AS g
FROM golang:1.18 AS h
FROM ruby:2.7 AS i
FROM openjdk:8-jdk AS j
FROM docker.io/library/debian:buster AS k
FROM ubuntu:bionic-20230530 AS l
FROM debian:12 AS m
FROM ubuntu:24.04 AS n
FROM node:24 AS o
FROM python:3.13-slim AS p
FROM mine/debian:9 AS q
FROM alpine:3.22 AS r
FROM python:3 AS s
FROM eclipse-temurin:21 AS t
ARG V=16
FROM debian:${V:-10}
