"""Links to runs and versions: addresses of the MLflow server, or None without a server."""

import json

import mlflow
import pytest
from mlflow import MlflowClient

from tasks.tracking import links
from tasks.tracking.connection import connect
from tasks.tracking.names import EXPERIMENT


def test_without_a_server_there_are_no_links(empty_store):
    assert links.version_page(empty_store, 3) is None
    assert links.run_figure(empty_store, "0" * 32, "durations.png") is None


def test_the_table_of_runs_opens_in_the_pages_for_training_with_the_columns_of_a_saved_view(empty_store):
    page = links.runs_page(empty_store)
    experiment = connect(empty_store).get_experiment_by_name(EXPERIMENT)
    address = f"http://127.0.0.1:5000/#/experiments/{experiment.experiment_id}/runs?workflowType=machine_learning"
    assert page == f"{address}&viewStateShareKey=pipeline-runs"
    view = json.loads(experiment.tags["mlflow.sharedViewState.pipeline-runs"])
    assert view["name"] == "pipeline runs"
    _, *scores, _ = json.loads(view["state"])["selectedColumns"]
    assert scores[:2] == ["metrics.`test/mpjpe_mm`", "metrics.`test/mlp/mpjpe_mm`"]
    assert "tags.`uplift.preset`" in scores


@pytest.fixture
def with_server(monkeypatch):
    """Connect to the address of a server; the links need no request."""
    monkeypatch.setattr(links, "connect", lambda _: MlflowClient("http://127.0.0.1:5000/"))
    yield
    mlflow.set_tracking_uri(None)


def test_with_a_server_links_are_addresses_of_its_pages(with_server, tmp_path):
    assert links.version_page(tmp_path, 3) == (
        "http://127.0.0.1:5000/#/models/pose-uplift/versions/3?workflowType=machine_learning"
    )
    assert links.run_figure(tmp_path, "ab", "durations.png") == (
        "http://127.0.0.1:5000/get-artifact?path=durations.png&run_uuid=ab"
    )
