"""Links to runs, versions and artifacts: addresses on the MLflow server, or local files without a server."""

import json
from pathlib import Path

from mlflow import MlflowClient

from data_contracts.store.digests import PIPELINE
from tasks.tracking.connection import connect
from tasks.tracking.names import MODEL_NAME, PRESET_TAG, STAGE_TAG, VERSION_TAG
from tasks.tracking.runs import experiment_id, finished_run
from tasks.tracking.store_artifacts import local_folder

DEFAULT_SERVER = "http://127.0.0.1:5000"
VIEW = "pipeline-runs"  # key of the saved view of the experiment
COLUMN_WIDTHS = {  # of the view, in its order
    "attributes.`Run Name`": 240,
    "metrics.`test/mpjpe_mm`": 115,
    "metrics.`test/mlp/mpjpe_mm`": 145,  # next to the model's, because a narrow window shows only these two
    "metrics.`test/p_mpjpe_mm`": 130,
    "metrics.`test/pck_150`": 105,
    "metrics.`train_minutes`": 115,
    f"tags.`{PRESET_TAG}`": 130,
    f"tags.`{VERSION_TAG}`": 120,
}


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
    """Return a link to the pipeline runs with their scores, at the default address if there is no MLflow server.

    The columns and the filter are written as a saved view of the experiment, which MLflow's menu of views also lists.
    """
    client = connect(store)
    columns = {"selectedColumns": [*COLUMN_WIDTHS], "columnOrder": [*COLUMN_WIDTHS], "columnWidths": COLUMN_WIDTHS}
    state = {"searchFilter": f"tags.`{STAGE_TAG}` = '{PIPELINE}'", **columns}
    view = {"name": VIEW.replace("-", " "), "createdAt": 0, "state": json.dumps(state)}
    client.set_experiment_tag(experiment_id(client), f"mlflow.sharedViewState.{VIEW}", json.dumps(view))
    page = _page(_server(client) or DEFAULT_SERVER, f"experiments/{experiment_id(client)}/runs")
    return f"{page}&viewStateShareKey={VIEW}"


def version_page(store: Path, version: int) -> str | None:
    """Return a link to the page of a model version, or None without an MLflow server."""
    server = _server(connect(store))
    return _page(server, f"models/{MODEL_NAME}/versions/{version}") if server else None


def run_figure(store: Path, run_id: str, file: str) -> str | None:
    """Return the address of a figure of a run, for use in another page, or None without an MLflow server."""
    server = _server(connect(store))
    return f"{server}/get-artifact?path={file}&run_uuid={run_id}" if server else None


def _page(server: str, route: str) -> str:
    """Return the address of a page of MLflow's UI; without the query MLflow shows its pages for language models."""
    return f"{server}/#/{route}?workflowType=machine_learning"


def _server(client: MlflowClient) -> str:
    """Return the address of the MLflow server; empty if the client reads the database."""
    address = str(client.tracking_uri).rstrip("/")
    return address if address.startswith("http") else ""
