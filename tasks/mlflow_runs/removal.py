"""What is taken out of MLflow for good: versions, LoggedModels and runs, rows and files.

Each looks unfinished or deleted before its files go, so that a kill in the middle leaves nothing that seems whole, and
whoever removes again finds it: a LoggedModel is FAILED first; of a run that is marked as deleted a tag says who did it,
because what a person deleted in MLflow's UI is theirs to restore.
"""

from mlflow import MlflowClient
from mlflow.entities import LoggedModel, LoggedModelStatus, Run
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from data_contracts.errors import InputError
from data_contracts.store.sqlite import sqlite_file
from tasks.mlflow_runs.store_artifacts import delete_inside, local_folder

REMOVING_TAG = "uplift.removing"


def delete_model(client: MlflowClient, model: LoggedModel) -> None:
    """As `mlflow gc` does, which a LoggedModel that is merely deleted waits for, with its files.

    A tracking server keeps the row, marked as deleted, until somebody runs `mlflow gc` there; the files it removes.
    """
    if model.status == LoggedModelStatus.READY:
        client.finalize_logged_model(model.model_id, LoggedModelStatus.FAILED)
    delete_files(client, model.artifact_location)
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
    delete_files(client, str(run.info.artifact_uri))
    store = client._tracking_client.store
    if hasattr(store, "_hard_delete_run"):
        store._hard_delete_run(run_id)


def delete_files(client: MlflowClient, uri: str) -> None:
    """Delete all artifacts at a URI. A `file:` URI comes from an earlier version and must be in the store connected.

    Raises
    ------
    InputError
        The files are outside the store; nothing is deleted.
    """
    folder, database = local_folder(uri, client.tracking_uri), sqlite_file(client.tracking_uri)
    if folder is None:
        get_artifact_repository(uri, tracking_uri=client.tracking_uri).delete_artifacts()
    elif database is None:
        raise InputError(f"{folder}: is not deleted through a server: run the command without MLFLOW_TRACKING_URI")
    else:
        delete_inside(folder, database.parent)
