"""What a pipeline sends to other workers: nothing that the store has, and never done here instead."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from prefect.artifacts import Artifact
from prefect.client.orchestration import get_client

from data_contracts.errors import InputError
from data_contracts.store import identities
from flows.pipeline import pipeline
from flows.pretrain import pretrain
from flows.stage_runs import dispatch
from flows.stage_runs.deployed import as_json

ROOT = Path(__file__).parents[3]


@pytest.fixture
def worker(monkeypatch):
    """Stands for a worker: runs what it is sent in this process, in the store it is told, and keeps what it got."""
    runs = []

    def run(deployment, arguments, _):
        runs.append(deployment)
        state = pretrain(**as_json(arguments) | worker_sees, return_state=True)
        with get_client(sync_client=True) as client:
            return client.read_flow_run(state.state_details.flow_run_id)

    worker_sees = {}
    monkeypatch.setattr(dispatch, "run_to_its_end", run)
    return runs, worker_sees


def test_what_is_in_the_store_is_not_sent_to_any_worker(outcome, parameters, store, worker):
    again = pipeline(parameters=parameters, store=str(store), train_on="cuda")
    assert again["cached"]
    assert worker[0] == []
    assert again["metrics"] == outcome["metrics"]
    shown = Artifact.get("pretrain-result")
    assert '"cached", "value": "True"' in str(shown.data)


def test_what_a_worker_left_in_another_store_fails_the_pipeline_naming_both(
    outcome, parameters, store, worker, tmp_path, monkeypatch
):
    monkeypatch.setattr(dispatch, "SECONDS_TO_APPEAR", 0.0)
    runs, worker_sees = worker
    worker_sees["store"], worker_sees["parent_run"] = str(tmp_path / "other"), None
    other = parameters.model_copy(update={"pretrain": parameters.pretrain.model_copy(update={"seed": 7})})
    wanted = identities.pretrain(Path(outcome["stages"]["convert"]["folder"]), other.pretrain)
    with pytest.raises(RuntimeError) as failure:
        pipeline(parameters=other, store=str(store), train_on="cuda")
    assert runs == ["pretrain/cuda"]
    for folder in (store, tmp_path / "other"):
        assert f"{folder}/runs/{wanted.digest} " in str(failure.value)
    assert not (store / "runs" / wanted.digest).exists()


def test_what_a_worker_leaves_in_the_store_is_taken_from_there(outcome, parameters, store, worker):
    runs, worker_sees = worker
    worker_sees["parent_run"] = None
    identity = identities.pretrain(
        Path(outcome["stages"]["convert"]["folder"]), parameters.pretrain.model_copy(update={"seed": 8})
    )
    result = dispatch.dispatch_stage(
        store,
        identity,
        "cuda",
        outcome["mlflow_run"],
        windows=outcome["stages"]["convert"]["folder"],
        parameters=identity.parameters,
    )
    assert runs == ["pretrain/cuda"]
    assert not result.cached
    assert result.seconds > 0
    assert result.path == store / "runs" / identity.digest


def test_windows_without_the_split_to_score_on_are_refused_before_training(outcome, parameters, store):
    nobody = parameters.convert.model_copy(update={"test_share": 0.0})
    with pytest.raises(InputError, match=r"no windows in split test.*convert\.test_share"):
        pipeline(parameters=parameters.model_copy(update={"convert": nobody}), store=str(store))


def test_a_pipeline_imports_no_pytorch_before_a_stage_needs_it():
    code = "import sys, flows.pipeline; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, env=dict(os.environ))
