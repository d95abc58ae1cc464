# One image, three commands: the API, a worker, the inference process.
FROM python:3.11-slim
WORKDIR /app
RUN useradd --create-home --uid 10001 perennial && mkdir /data && chown perennial /data
COPY pyproject.toml README.md ./
COPY core core
COPY api api
COPY worker worker
COPY alembic.ini ./
COPY migrations migrations
COPY models models
RUN pip install --no-cache-dir --editable .
USER perennial
ENV PERENNIAL_HOME=/data PERENNIAL_EMBEDDED=false
CMD ["python", "-m", "api", "serve"]
