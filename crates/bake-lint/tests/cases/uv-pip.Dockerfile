FROM python:3.13-slim
COPY --from=ghcr.io/astral-sh/uv:0.5.4 /uv /bin/uv
RUN uv pip install --system --no-cache flask gunicorn
RUN --mount=type=cache,target=/root/.cache/uv uv pip install --system httpx
RUN uv tool install ruff
RUN python -m venv /venv && /venv/bin/pip install --no-cache-dir -U pip wheel
RUN pip install --no-cache-dir poetry==1.8.4 && poetry config virtualenvs.create false && poetry install --no-root --no-interaction
RUN pip download -d /wheels flask && pip wheel --no-cache-dir -w /wheels requests
ENV PIP_DISABLE_PIP_VERSION_CHECK=1
USER 1000
CMD ["gunicorn"]
