"""Links to runs, versions and artifacts: addresses of the MLflow server, or files if the database has no server."""

from pathlib import Path

from mlflow import MlflowClient

from tasks.tracking.names import MODEL_NAME
from tasks.tracking.runs import connect, find_runs
from tasks.tracking.store_artifacts import local_folder


def stage_artifact(store: Path, digest: str, file: str) -> str | None:
    """Return a link to an artifact of the newest finished run of a stage, or None without such a run."""
    client = connect(store)
    finished = [run.info.run_id for run in find_runs(client, digest) if run.info.status == "FINISHED"]
    return _link(client, finished[0], file) if finished else None


def run_artifact(store: Path, run_id: str, file: str) -> str | None:
    """Return a link to an artifact of a run, or None without the artifact."""
    return _link(connect(store), run_id, file)


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


def _link(client: MlflowClient, run_id: str, file: str) -> str | None:
    if all(artifact.path != file for artifact in client.list_artifacts(run_id)):
        return None
    run, server = client.get_run(run_id).info, _server(client)
    if server:
        return f"{server}/#/experiments/{run.experiment_id}/runs/{run_id}/artifacts/{file}"
    folder = local_folder(str(run.artifact_uri), client.tracking_uri)
    return (folder / file).as_uri() if folder else f"{run.artifact_uri}/{file}"


def _server(client: MlflowClient) -> str:
    """Return the address of the MLflow server; empty if the client reads the database."""
    address = str(client.tracking_uri).rstrip("/")
    return address if address.startswith("http") else ""
