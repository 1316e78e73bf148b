"""Pipeline runs that train again on unchanged data, and that start from the champion."""

import json
import shutil
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from prefect import flow
from typer.testing import CliRunner

import flows.cli
import flows.pipeline
from data_contracts.errors import InputError
from data_contracts.store.digests import file_digest
from data_contracts.store.folders import CHECKPOINT_FILE
from data_contracts.store.manifests import SHIPPED_RUN, read_manifest
from flows.pipeline import day_of_run
from tasks.maintenance.lineage import trace
from tasks.tracking.names import CHAMPION, CHECKPOINT_TAG, MODEL_NAME
from tasks.tracking.registry import read_training_data
from tasks.tracking.runs import connect
from tests.flows.typed import pipeline

TRAINED = ["pretrain", "finetune", "baselines", "evaluate"]


@pytest.fixture
def own_store(outcome, store, tmp_path):
    """Return a copy of the store of the pipeline run."""
    return shutil.copytree(store, tmp_path / "own")


def made(pipeline_run: dict) -> list[str]:
    """Return the names of the computed stages."""
    return [name for name, stage in pipeline_run["stages"].items() if not stage["cached"]]


def settings(pipeline_run: dict, stage: str) -> dict:
    return read_manifest(Path(pipeline_run["stages"][stage]["folder"]))["parameters"]


def test_a_fresh_run_trains_again_on_cached_data_and_is_cached_on_the_same_day(
    outcome, parameters, own_store, monkeypatch
):
    monkeypatch.setattr(flows.pipeline, "day_of_run", lambda: date(2026, 11, 27))
    asked = {"parameters": parameters, "store": str(own_store), "fresh": True}
    fresh = pipeline(**asked)
    assert made(fresh) == TRAINED
    assert settings(fresh, "pretrain")["seed"] == settings(fresh, "finetune")["seed"] == 20261127
    assert settings(fresh, "baselines")["mlp"]["seed"] == 20261127
    assert fresh["model"]["version"] != outcome["model"]["version"]
    assert connect(own_store).get_run(fresh["mlflow_run"]).data.tags["uplift.fresh"] == "2026-11-27"
    again = pipeline(**asked)
    assert again["cached"]
    assert again["model"] == fresh["model"]
    monkeypatch.setattr(flows.pipeline, "day_of_run", lambda: date(2026, 11, 28))
    monkeypatch.setattr("tasks.train.training.pretrain_network", lambda *_, **__: pytest.fail("it trains again"))
    with pytest.raises(pytest.fail.Exception, match="it trains again"):
        pipeline(**asked)


def test_the_day_of_a_run_is_the_scheduled_day_in_utc():
    @flow
    def asks():
        return day_of_run()

    before = datetime.now(UTC).date()
    assert before <= asks() <= datetime.now(UTC).date()


def test_a_run_fine_tunes_exactly_the_weights_of_the_champion(outcome, parameters, own_store):
    asked = {"parameters": parameters, "store": str(own_store), "start_from": "champion"}
    client = connect(own_store)
    with pytest.raises(InputError, match="the registry contains no pose-uplift@champion to start from"):
        pipeline(**asked)
    client.set_registered_model_alias(MODEL_NAME, CHAMPION, str(outcome["model"]["version"]))
    pipeline_run = pipeline(**asked)
    assert made(pipeline_run) == ["finetune", "evaluate"]
    assert "pretrain" not in pipeline_run["stages"]
    champion = client.get_model_version_by_alias(MODEL_NAME, CHAMPION)
    manifest = read_manifest(Path(pipeline_run["stages"]["finetune"]["folder"]))
    assert manifest["inputs"]["pretrained"] == champion.tags[CHECKPOINT_TAG]
    tags = client.get_run(pipeline_run["mlflow_run"]).data.tags
    assert tags["uplift.start_from"] == f"models:/{MODEL_NAME}/{champion.version}"
    assert json.loads(tags["uplift.inputs"])["pretrained"] == champion.tags[CHECKPOINT_TAG]
    version = client.get_model_version(MODEL_NAME, str(pipeline_run["model"]["version"]))
    assert version.version != champion.version
    assert read_training_data(own_store, version).subjects == read_training_data(own_store, champion).subjects
    chain = trace(own_store, f"models:/{MODEL_NAME}/{version.version}").chain
    behind = next(link for link in chain.all() if link.stage == "finetune").links[0]
    assert behind.stage_digest == outcome["stages"]["finetune"]["digest"]
    assert pipeline(**asked)["cached"]
    longer = parameters.convert.model_copy(update={"window": 9, "stride": 9})
    with pytest.raises(
        InputError, match=r"trained on windows of 27 frames, but the data has 9: pass `--set convert\.win"
    ):
        pipeline(**asked | {"parameters": parameters.model_copy(update={"convert": longer})})


def test_a_run_fine_tunes_the_lifter_of_the_package_and_promotion_knows_its_training_subjects(parameters, own_store):
    pipeline_run = pipeline(parameters=parameters, store=str(own_store), start_from="shipped")
    assert "pretrain" not in pipeline_run["stages"]
    manifest = read_manifest(Path(pipeline_run["stages"]["finetune"]["folder"]))
    assert manifest["inputs"]["pretrained"] == file_digest(SHIPPED_RUN / CHECKPOINT_FILE)
    client = connect(own_store)
    assert client.get_run(pipeline_run["mlflow_run"]).data.tags["uplift.start_from"] == "shipped"
    version = client.get_model_version(MODEL_NAME, str(pipeline_run["model"]["version"]))
    data = read_training_data(own_store, version)
    shipped = read_manifest(SHIPPED_RUN)["statistics"]["training_data"]
    assert {*shipped["people"]} < {*data.subjects}
    assert not data.unknown
    chain = trace(own_store, f"models:/{MODEL_NAME}/{version.version}").chain
    assert str(SHIPPED_RUN) in [link.where for link in chain.all()]
    assert trace(own_store, "shipped").chain.stage == "pretrain"


def test_the_command_passes_fresh_and_start_from(monkeypatch, tmp_path):
    given = {}

    def run_pipeline(**arguments):
        given.update(arguments)
        raise InputError("enough")

    monkeypatch.setattr(flows.cli, "run_pipeline", run_pipeline)
    typed = ["pipeline", "--fresh", "--start-from", "champion", "--store", str(tmp_path)]
    CliRunner().invoke(flows.cli.app, typed)
    assert (given["fresh"], given["start_from"]) == (True, "champion")
    CliRunner().invoke(flows.cli.app, ["pipeline", "--store", str(tmp_path)])
    assert (given["fresh"], given["start_from"]) == (False, "nothing")
