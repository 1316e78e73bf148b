# Image for workers and both servers. Its command is the name of a service (flows/deployment/services.py).
#   docker build -t pose-uplift .
#   docker build -t pose-uplift:cuda --build-arg BASE=nvidia/cuda:12.8.1-runtime-ubuntu24.04 .
# PyTorch's wheel contains CUDA's libraries. The machine needs the driver and the NVIDIA container toolkit.
ARG BASE=python:3.11-slim-bookworm
FROM ${BASE}

# git: manifests record the commit. Python: NVIDIA's base images do not have it.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git \
    && (command -v python3 || apt-get install --yes --no-install-recommends python3 python3-venv) \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /app
ENV PATH=/app/.venv/bin:$PATH PYTHONUNBUFFERED=1 UPLIFT_STORE=/store
COPY . .
RUN python3 -m venv .venv \
    && .venv/bin/pip install --no-cache-dir --constraint constraints.txt --editable '.[exports,onnx,pipeline,postgres]' \
    && useradd --uid 10001 --create-home uplift \
    && mkdir /store \
    && chown -R uplift /app /store
USER 10001
VOLUME /store

ENTRYPOINT ["python", "-m", "flows.deployment.services"]
CMD ["worker-cpu"]
