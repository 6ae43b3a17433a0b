FROM python:3.11-slim

ENV PYTHONDONTWRITEBYTECODE 1
ENV PYTHONUNBUFFERED 1
ENV DJANGO_SECRET_KEY=build-only DJANGO_SETTINGS_MODULE=shop.settings

RUN apt-get update \
    && apt-get install -y --no-install-recommends \
        build-essential \
        gettext \
        libpq-dev \
    # Pillow
        libjpeg62-turbo-dev \
    && apt-get purge -y --auto-remove -o APT::AutoRemove::RecommendsImportant=false \
    && rm -rf /var/lib/apt/lists/*

RUN pip install --upgrade pip
COPY requirements.txt /requirements.txt
RUN pip install -r /requirements.txt && rm -rf /root/.cache/pip
COPY ./entrypoint.sh /entrypoint.sh
RUN sed -i 's/\r$//g' /entrypoint.sh
RUN chmod +x /entrypoint.sh
COPY . /app
WORKDIR /app
RUN python manage.py collectstatic --noinput
RUN addgroup --system django && adduser --system --ingroup django django && chown -R django:django /app
USER django
ENTRYPOINT ["/entrypoint.sh"]
