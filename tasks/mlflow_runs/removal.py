"""Deletion of a LoggedModel by MLflow's public API."""

import shutil
from pathlib import Path
from urllib.parse import unquote, urlparse

from mlflow import MlflowClient
from mlflow.entities import LoggedModel, LoggedModelStatus
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository


def delete_model(client: MlflowClient, model: LoggedModel) -> None:
    """Delete a LoggedModel and its files; MLflow keeps the row, marked as deleted, until `mlflow gc` is run.

    The model becomes FAILED first, so that an interrupted deletion leaves no model that looks complete.
    """
    if model.status == LoggedModelStatus.READY:
        client.finalize_logged_model(model.model_id, LoggedModelStatus.FAILED)
    _delete_files(model.artifact_location)
    client.delete_logged_model(model.model_id)


def local_files(uri: str) -> Path | None:
    """Return the folder of an artifact URI, or None if a server or a bucket has the artifacts."""
    parts = urlparse(uri)
    return Path(unquote(parts.path)) if parts.scheme in ("", "file") else None


def _delete_files(uri: str) -> None:
    """Delete all artifacts at a URI, and on this machine also the parent folder if it is empty then."""
    folder = local_files(uri)
    if folder is None:
        get_artifact_repository(uri).delete_artifacts()
        return
    if folder.exists():
        shutil.rmtree(folder)
    if folder.parent.is_dir() and not any(folder.parent.iterdir()):
        folder.parent.rmdir()
