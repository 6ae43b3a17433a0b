FROM debian:12.5-slim
MAINTAINER Jo <jo@example.com>
ENV A b c
LABEL version 1.0
ENV GOOD=1 \
    # a remark
    BETTER=2 \

    BEST=3
COPY a b c
COPY ["a", "b", "c"]
COPY a b c/
COPY a* /x
EXPOSE 70000 80/TCP 127.0.0.1:8080:80 443
STOPSIGNAL SIGKILL
HEALTHCHECK CMD curl -f http://localhost/
HEALTHCHECK NONE
CMD ['a', 'b']
ENTRYPOINT ["a", "b",]
RUN true && RUN false
