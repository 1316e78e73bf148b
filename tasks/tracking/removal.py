"""Deletion of a LoggedModel and of artifacts by MLflow's public API."""

from mlflow import MlflowClient
from mlflow.entities import LoggedModel, LoggedModelStatus
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from data_contracts.errors import InputError
from data_contracts.store.sqlite import sqlite_file
from tasks.tracking.store_artifacts import delete_inside, local_folder


def delete_model(client: MlflowClient, model: LoggedModel) -> None:
    """Delete a LoggedModel and its files; MLflow keeps the row, marked as deleted, until `mlflow gc` is run.

    The model becomes FAILED first, so that an interrupted deletion leaves no model that looks complete.
    """
    if model.status == LoggedModelStatus.READY:
        client.finalize_logged_model(model.model_id, LoggedModelStatus.FAILED)
    delete_files(client, model.artifact_location)
    client.delete_logged_model(model.model_id)


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
