"""Links to runs, versions and artifacts: addresses on the MLflow server, or local files without a server."""

from pathlib import Path

from mlflow import MlflowClient

from tasks.tracking.connection import connect
from tasks.tracking.names import MODEL_NAME
from tasks.tracking.runs import finished_run
from tasks.tracking.store_artifacts import local_folder


def stage_artifact(store: Path, digest: str, file: str) -> str | None:
    """Return a link to an artifact of the newest finished run of a stage, or None if there is no such run."""
    run_id = finished_run(connect(store), digest)
    return run_artifact(store, run_id, file) if run_id else None


def run_artifact(store: Path, run_id: str, file: str) -> str | None:
    """Return a link to an artifact of a run, or None if the run does not have the artifact."""
    client = connect(store)
    if all(artifact.path != file for artifact in client.list_artifacts(run_id)):
        return None
    run, server = client.get_run(run_id).info, _server(client)
    if server:
        return f"{server}/#/experiments/{run.experiment_id}/runs/{run_id}/artifacts/{file}"
    folder = local_folder(str(run.artifact_uri), client.tracking_uri)
    return (folder / file).as_uri() if folder else f"{run.artifact_uri}/{file}"


def run_page(store: Path, run_id: str) -> str | None:
    """Return a link to the page of a run, or None without an MLflow server."""
    client = connect(store)
    server = _server(client)
    return f"{server}/#/experiments/{client.get_run(run_id).info.experiment_id}/runs/{run_id}" if server else None


def version_page(store: Path, version: int) -> str | None:
    """Return a link to the page of a model version, or None without an MLflow server."""
    server = _server(connect(store))
    return f"{server}/#/models/{MODEL_NAME}/versions/{version}" if server else None


def run_figure(store: Path, run_id: str, file: str) -> str | None:
    """Return the address of a figure of a run, for use in another page, or None without an MLflow server."""
    server = _server(connect(store))
    return f"{server}/get-artifact?path={file}&run_uuid={run_id}" if server else None


def _server(client: MlflowClient) -> str:
    """Return the address of the MLflow server; empty if the client reads the database."""
    address = str(client.tracking_uri).rstrip("/")
    return address if address.startswith("http") else ""
