FROM debian:12.5-slim AS a
WORKDIR sub
WORKDIR /a
WORKDIR sub
RUN cd x && make
RUN cd /x
RUN make; cd /y
RUN (cd /z && make)
RUN for d in a b; do cd /w/$d && make; done
FROM a
WORKDIR more
FROM debian:12.5-slim
ARG HOME_DIR=/home/app
ENV APP="$HOME_DIR/app"
WORKDIR ${APP}
WORKDIR bin
COPY x .
FROM debian:12.5-slim
COPY x .
COPY x y/
COPY x /y
