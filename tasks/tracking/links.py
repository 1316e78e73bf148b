"""Links to runs, versions and artifacts: addresses on the MLflow server, or local files without a server."""

from pathlib import Path

from mlflow import MlflowClient

from tasks.tracking.connection import connect
from tasks.tracking.names import MODEL_NAME
from tasks.tracking.runs import experiment_id, finished_run
from tasks.tracking.store_artifacts import local_folder

DEFAULT_SERVER = "http://127.0.0.1:5000"


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
        return _page(server, f"experiments/{run.experiment_id}/runs/{run_id}/artifacts/{file}")
    folder = local_folder(str(run.artifact_uri), client.tracking_uri)
    return (folder / file).as_uri() if folder else f"{run.artifact_uri}/{file}"


def run_page(store: Path, run_id: str) -> str | None:
    """Return a link to the page of a run, or None without an MLflow server."""
    client = connect(store)
    server = _server(client)
    return _page(server, f"experiments/{client.get_run(run_id).info.experiment_id}/runs/{run_id}") if server else None


def runs_page(store: Path) -> str:
    """Return a link to the table of runs; without an MLflow server, at the default address of `mlflow server`."""
    client = connect(store)
    return _page(_server(client) or DEFAULT_SERVER, f"experiments/{experiment_id(client)}/runs")


def version_page(store: Path, version: int) -> str | None:
    """Return a link to the page of a model version, or None without an MLflow server."""
    server = _server(connect(store))
    return _page(server, f"models/{MODEL_NAME}/versions/{version}") if server else None


def run_figure(store: Path, run_id: str, file: str) -> str | None:
    """Return the address of a figure of a run, for use in another page, or None without an MLflow server."""
    server = _server(connect(store))
    return f"{server}/get-artifact?path={file}&run_uuid={run_id}" if server else None


def _page(server: str, route: str) -> str:
    """Return the address of a page of MLflow's UI, which without the query shows its pages for language models."""
    return f"{server}/#/{route}?workflowType=machine_learning"


def _server(client: MlflowClient) -> str:
    """Return the address of the MLflow server; empty if the client reads the database."""
    address = str(client.tracking_uri).rstrip("/")
    return address if address.startswith("http") else ""
