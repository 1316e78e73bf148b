"""What is taken out of MLflow for good: versions, LoggedModels and runs, rows and files.

Each looks unfinished or deleted before its files go, so that a kill in the middle leaves nothing that seems whole, and
whoever removes again finds it: a LoggedModel is FAILED first; of a run that is marked as deleted a tag says who did it,
because what a person deleted in MLflow's UI is theirs to restore.
"""

import shutil
from pathlib import Path
from urllib.parse import unquote, urlparse

from mlflow import MlflowClient
from mlflow.entities import LoggedModel, LoggedModelStatus, Run
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

REMOVING_TAG = "uplift.removing"


def delete_model(client: MlflowClient, model: LoggedModel) -> None:
    """As `mlflow gc` does, which a LoggedModel that is merely deleted waits for, with its files.

    A tracking server keeps the row, marked as deleted, until somebody runs `mlflow gc` there; the files it removes.
    """
    if model.status == LoggedModelStatus.READY:
        client.finalize_logged_model(model.model_id, LoggedModelStatus.FAILED)
    _delete_files(model.artifact_location)
    client.delete_logged_model(model.model_id)
    store = client._tracking_client.store
    if hasattr(store, "_hard_delete_logged_model"):
        store._hard_delete_logged_model(model.model_id)


def delete_run(client: MlflowClient, run: Run) -> None:
    """The same of a run, whose LoggedModels are gone already."""
    run_id = run.info.run_id
    if run.info.lifecycle_stage == "active":
        client.set_tag(run_id, REMOVING_TAG, "uplift gc")
        client.delete_run(run_id)
    _delete_files(str(run.info.artifact_uri))
    store = client._tracking_client.store
    if hasattr(store, "_hard_delete_run"):
        store._hard_delete_run(run_id)


def local_files(uri: str) -> Path | None:
    """The folder behind an artifact URI, where it is one of this machine's."""
    parts = urlparse(uri)
    return Path(unquote(parts.path)) if parts.scheme in ("", "file") else None


def _delete_files(uri: str) -> None:
    """All artifacts at a URI; of a folder of this machine the empty one around it too, which bears the id."""
    folder = local_files(uri)
    if folder is None:
        get_artifact_repository(uri).delete_artifacts()
        return
    if folder.exists():
        shutil.rmtree(folder)
    if folder.parent.is_dir() and not any(folder.parent.iterdir()):
        folder.parent.rmdir()
