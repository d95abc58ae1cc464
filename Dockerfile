# Three images. `api` has no torch; `worker` adds torch's CPU build, `worker-gpu` torch with CUDA.
FROM python:3.11-slim AS api
WORKDIR /app
RUN useradd --create-home --uid 10001 perennial && mkdir /data && chown perennial /data
COPY pyproject.toml constraints.txt README.md ./
COPY client client
COPY core core
COPY api api
COPY cli cli
COPY worker worker
COPY alembic.ini ./
COPY migrations migrations
COPY models models
COPY demo/pack demo/pack
COPY docs docs
RUN pip install --no-cache-dir --constraint constraints.txt --editable client --editable ".[traces,cluster]"
USER perennial
ENV PERENNIAL_HOME=/data PERENNIAL_EMBEDDED=false
CMD ["perennial", "serve"]

FROM api AS worker
# PyTorch's index of CPU builds; --build-arg TORCH_CPU_INDEX=... sets a mirror.
ARG TORCH_CPU_INDEX=https://download.pytorch.org/whl/cpu
USER root
RUN pip install --no-cache-dir --index-url "$TORCH_CPU_INDEX" torch torchvision \
    && pip install --no-cache-dir --constraint constraints.txt --editable ".[worker]"
USER perennial
CMD ["python", "-m", "worker.supervision"]

FROM api AS worker-gpu
USER root
RUN pip install --no-cache-dir --constraint constraints.txt --editable ".[worker]"
USER perennial
CMD ["python", "-m", "worker.supervision"]
