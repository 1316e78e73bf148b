# An image for workers and for both servers: what it runs is a part of the stack (flows/stack/parts.py), worker-cpu untold.
#   docker build -t pose-uplift .
#   docker build -t pose-uplift:cuda --build-arg BASE=nvidia/cuda:12.8.1-runtime-ubuntu24.04 .
# PyTorch's wheel brings CUDA's libraries; the machine has to have the driver and the NVIDIA container toolkit.
ARG BASE=python:3.11-slim-bookworm
FROM ${BASE}

# git: manifests say which commit computed them; a base that is no Python image has no Python
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git \
    && (command -v python3 || apt-get install --yes --no-install-recommends python3 python3-venv) \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /app
ENV PATH=/app/.venv/bin:$PATH PYTHONUNBUFFERED=1 UPLIFT_STORE=/store
COPY . .
RUN python3 -m venv .venv \
    && .venv/bin/pip install --no-cache-dir --constraint constraints.txt --editable '.[exports,onnx,postgres,stack]' \
    && useradd --uid 10001 --create-home uplift \
    && mkdir /store \
    && chown -R uplift /app /store
USER 10001
VOLUME /store

ENTRYPOINT ["python", "-m", "flows.stack.parts"]
CMD ["worker-cpu"]
