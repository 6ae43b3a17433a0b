FROM alpine:3.22
RUN wget https://example.com/a.sh && sh a.sh
RUN wget -qO- https://example.com/i.sh | sh
RUN wget -O - https://example.com/i.sh | sh -s -- -b /usr/local/bin
RUN sh -c "$(curl -fsSL https://example.com/install.sh)"
RUN bash <(curl -s https://example.com/install.sh)
RUN curl -sSL https://install.python-poetry.org | python3 -
RUN curl -fsSL https://example.com/key.gpg | gpg --dearmor > /k.gpg
RUN curl -k https://internal/x -o /x && git -c http.sslVerify=false clone https://internal/y
RUN npm config set strict-ssl false && pip config set global.trusted-host pypi.org
USER 1
