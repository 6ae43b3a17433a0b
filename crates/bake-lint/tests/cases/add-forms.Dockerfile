FROM debian:12.5-slim
ADD app /app
ADD https://example.com/file /file
ADD app.tar.gz /app
ADD app.tar.zst more.tgz /app/
ADD --unpack=true x.bin /
ADD git@github.com:acme/app.git /src
ADD https://github.com/acme/app.git#v1 /src
ADD --checksum=sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 https://example.com/f /f
ADD <<EOF /x
RUN sudo make
EOF
ADD dir/ /dir/
ADD --chown=1:1 b.txt c.tar.xz /z/
ADD ["a b", "/c d"]
ADD $FILE /y
add *.conf /etc/
