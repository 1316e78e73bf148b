"""The benchmark: windows on which all versions are compared, stored as a tag of the registered model."""

from datetime import UTC, datetime
from pathlib import Path

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, ErrorCode

from data_contracts.errors import InputError
from data_contracts.store.folders import resolve
from data_contracts.store.locks import must_be_writable
from data_contracts.store.manifests import read_manifest
from tasks.tracking.connection import connect, named_uri
from tasks.tracking.names import BENCHMARK_TAG, MODEL_NAME, SINCE_TAG
from tasks.tracking.registry import registered_tags


def name_benchmark(store: Path, windows: str, split: str) -> str:
    """Make windows the benchmark and return their digest.

    Raises
    ------
    InputError
        The store does not have the windows, or they have no windows in the split.
    MlflowException
        The registry did not answer.
    """
    folder = resolve(store, "windows", windows)
    manifest = read_manifest(folder)
    if not manifest["counts"]["windows"].get(split):
        raise InputError(f"{folder}: has no windows in split {split}, which evaluate.split names")
    client = _connect_to_write(store)
    try:
        client.create_registered_model(MODEL_NAME)
    except MlflowException as error:
        if error.error_code != ErrorCode.Name(RESOURCE_ALREADY_EXISTS):
            raise
    digest = str(manifest["digest"])
    client.set_registered_model_tag(MODEL_NAME, SINCE_TAG, datetime.now(UTC).isoformat(timespec="seconds"))
    client.set_registered_model_tag(MODEL_NAME, BENCHMARK_TAG, digest)
    return digest


def named_benchmark(client: MlflowClient) -> str | None:
    """Return the digest of the benchmark windows, or None without a benchmark.

    Raises
    ------
    MlflowException
        The registry did not answer.
    """
    return registered_tags(client).get(BENCHMARK_TAG)


def remove_benchmark(store: Path) -> None:
    """Remove the benchmark, so that versions are compared on their own evaluation windows."""
    client = _connect_to_write(store)
    if named_benchmark(client):
        client.delete_registered_model_tag(MODEL_NAME, BENCHMARK_TAG)
        client.delete_registered_model_tag(MODEL_NAME, SINCE_TAG)


def _connect_to_write(store: Path) -> MlflowClient:
    if named_uri() is None:
        must_be_writable(store)
    return connect(store)
