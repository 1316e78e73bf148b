"""The benchmark: windows on which all versions are compared, stored as a tag of the registered model."""

from pathlib import Path

from mlflow import MlflowClient

from data_contracts.errors import InputError
from data_contracts.store.folders import resolve
from data_contracts.store.locks import must_be_writable
from data_contracts.store.manifests import read_manifest
from tasks.tracking.connection import connect, named_uri
from tasks.tracking.names import BENCHMARK_TAG, MODEL_NAME
from tasks.tracking.registry import registered_model


def name_benchmark(store: Path, windows: str, split: str) -> str:
    """Make windows the benchmark and return their digest.

    Raises
    ------
    InputError
        The store does not have the windows, or they have no windows in the split.
    """
    folder = resolve(store, "windows", windows)
    manifest = read_manifest(folder)
    if not manifest["counts"]["windows"].get(split):
        raise InputError(f"{folder}: has no windows in split {split}, which evaluate.split names")
    client = _connect_to_write(store)
    if registered_model(client) is None:
        client.create_registered_model(MODEL_NAME)
    client.set_registered_model_tag(MODEL_NAME, BENCHMARK_TAG, str(manifest["digest"]))
    return str(manifest["digest"])


def named_benchmark(client: MlflowClient) -> str | None:
    """Return the digest of the benchmark windows, or None without a benchmark."""
    model = registered_model(client)
    return dict(model.tags).get(BENCHMARK_TAG) if model else None


def remove_benchmark(store: Path) -> None:
    """Remove the benchmark, so that versions are compared on their own evaluation windows."""
    client = _connect_to_write(store)
    if named_benchmark(client):
        client.delete_registered_model_tag(MODEL_NAME, BENCHMARK_TAG)


def _connect_to_write(store: Path) -> MlflowClient:
    if named_uri() is None:
        must_be_writable(store)
    return connect(store)
