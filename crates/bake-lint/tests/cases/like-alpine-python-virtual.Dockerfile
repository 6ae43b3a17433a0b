FROM python:3.12-alpine
RUN apk update && apk add --virtual .build gcc musl-dev postgresql-dev \
    && pip install psycopg2==2.9.10 \
    && apk del .build
RUN apk add --update --no-cache bash && rm -rf /var/cache/apk/*
RUN apk add curl
COPY . /app
CMD python /app/main.py
