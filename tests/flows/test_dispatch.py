"""Dispatch of stages to workers: a cached stage is not sent, and no dispatched stage is computed here."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from prefect.artifacts import Artifact
from prefect.client.orchestration import get_client

from data_contracts.errors import InputError
from data_contracts.parameters import SYNTHETIC_FILE
from data_contracts.sources import find_motion_files
from data_contracts.store.digests import stage_key
from flows import dispatch, stage_flows
from tasks import stage
from tasks.stage import Context, get_or_compute
from tasks.synthetic.motion import SYNTHESISE
from tests.flows.typed import pipeline

ROOT = Path(__file__).parents[2]


@pytest.fixture
def worker(monkeypatch):
    """Run dispatched stages in this process, with some arguments replaced; record their names."""
    runs, replaced = [], {}

    def run(deployment, arguments, _):
        runs.append(deployment)
        state = stage_flows.pretrain(**json.loads(json.dumps(arguments)) | replaced, return_state=True)
        state.result()
        with get_client(sync_client=True) as client:
            return client.read_flow_run(state.state_details.flow_run_id)

    monkeypatch.setattr(dispatch, "run_to_its_end", run)
    return runs, replaced


def test_a_cached_stage_is_not_sent_to_workers(outcome, parameters, store, worker):
    again = pipeline(parameters=parameters, store=str(store), train_on="workers")
    assert again["cached"]
    assert worker[0] == []
    assert again["metrics"] == outcome["metrics"]
    shown = Artifact.get("pretrain-result")
    assert '"cached", "value": "True"' in str(shown.data)


def test_a_result_in_another_store_fails_the_pipeline_and_both_folders_are_named(
    outcome, parameters, store, worker, tmp_path, monkeypatch
):
    monkeypatch.setattr(dispatch, "SECONDS_TO_APPEAR", 0.0)
    runs, replaced = worker
    replaced |= {"store": str(tmp_path / "other"), "parent_run": None}
    other = parameters.model_copy(update={"pretrain": parameters.pretrain.model_copy(update={"seed": 7})})
    wanted = stage_key("pretrain", {"windows": Path(outcome["stages"]["convert"]["folder"])}, other.pretrain)
    with pytest.raises(RuntimeError) as failure:
        pipeline(parameters=other, store=str(store), train_on="workers")
    assert runs == ["pretrain/pretrain-backbone"]
    for folder in (store, tmp_path / "other"):
        assert f"{folder}/runs/{wanted.digest} " in str(failure.value)
    assert not (store / "runs" / wanted.digest).exists()


def test_the_result_of_a_worker_is_read_from_the_store(outcome, parameters, store, worker):
    runs, replaced = worker
    replaced["parent_run"] = None
    pretraining = parameters.pretrain.model_copy(update={"seed": 8})
    context = Context(store, parameters.model_copy(update={"pretrain": pretraining}), outcome["mlflow_run"])
    windows = outcome["stages"]["convert"]["folder"]
    result = dispatch.dispatch_stage("pretrain", context, on_workers=True, windows=windows)
    assert runs == ["pretrain/pretrain-backbone"]
    assert not result.cached
    assert result.seconds > 0
    assert result.path == store / "runs" / stage_key("pretrain", {"windows": Path(windows)}, pretraining).digest


def test_a_worker_with_another_preset_refuses_the_stage_before_it_computes(outcome, parameters, store, worker):
    runs, replaced = worker
    replaced["preset"] = "cpu"
    pretraining = parameters.pretrain.model_copy(update={"seed": 9})
    context = Context(store, parameters.model_copy(update={"pretrain": pretraining}), outcome["mlflow_run"])
    before = sorted((store / "runs").iterdir())
    with pytest.raises(InputError, match=r"pretrain: the pipeline run expects digest \w+, but .* have digest \w+ on"):
        dispatch.dispatch_stage("pretrain", context, on_workers=True, windows=outcome["stages"]["convert"]["folder"])
    assert runs == ["pretrain/pretrain-backbone"]
    assert sorted((store / "runs").iterdir()) == before


def test_a_source_that_is_replaced_after_the_pipeline_began_fails_it(outcome, parameters, store, tmp_path, monkeypatch):
    source = tmp_path / SYNTHETIC_FILE
    shutil.copy(Path(outcome["stages"]["synthesise"]["folder"]) / SYNTHETIC_FILE, source)
    synthetic = parameters.model_copy(update={"synthetic": parameters.synthetic.model_copy(update={"seed": 5})})
    other = get_or_compute(SYNTHESISE, {}, Context(tmp_path, synthetic, tracked=False)).path
    find = stage.find_stage

    def replace_and_find(root, identity):
        (other / SYNTHETIC_FILE).replace(source)
        return find(root, identity)

    monkeypatch.setattr(stage, "find_stage", replace_and_find)
    context = Context(store, parameters, outcome["mlflow_run"])
    expected = stage_key("ingest", {"source": find_motion_files(str(source), None)}, parameters.ingest).digest
    with pytest.raises(
        InputError, match=f"ingest: the pipeline run expects digest {expected}, .* an input was changed"
    ):
        dispatch.dispatch_stage("ingest", context, source=str(source))
    assert not (store / "clips" / expected).exists()


def test_windows_without_the_split_to_score_on_are_refused_before_training(outcome, parameters, store):
    nobody = parameters.convert.model_copy(update={"test_share": 0.0})
    with pytest.raises(InputError, match=r"no windows in split test.*convert\.test_share"):
        pipeline(parameters=parameters.model_copy(update={"convert": nobody}), store=str(store))


def test_a_pipeline_imports_no_pytorch_before_a_stage_needs_it():
    code = "import sys, flows.pipeline; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, env=dict(os.environ))
