"""Lineage is told by digests, from manifests and, where the store lost a folder, MLflow; what is not known says why."""

import shutil
from typing import NamedTuple

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from data_contracts.errors import InputError
from data_contracts.parameters import ConvertParameters, FinetuneParameters, IngestParameters, PretrainParameters
from data_contracts.report import StageResult
from data_contracts.sources import MotionFile
from data_contracts.store import identities
from data_contracts.store.code_version import code_version, describe_code
from data_contracts.store.digests import file_digest
from data_contracts.store.folders import CHECKPOINT_FILE
from data_contracts.store.manifests import read_manifest
from flows.terminal.lineage import lineage_lines
from tasks.maintenance.lineage import trace
from tasks.stage_runs.tracked_stage import run_stage
from tasks.tracking.registry import CHECKPOINT_TAG, MODEL_NAME
from tasks.tracking.runs import connect, find_runs

VERSION = f"models:/{MODEL_NAME}/1"


class Night(NamedTuple):
    """What every stage left, in a store."""

    clips: StageResult
    windows: StageResult
    pretrained: StageResult
    tuned: StageResult


@pytest.fixture
def night(empty_store, tmp_path) -> Night:
    """A chain of stages that leave next to nothing, and its version."""
    (tmp_path / "motion.npy").write_bytes(b"motion")

    def ingested(stage, tracked):
        stage.counts |= {"clips": 3, "frames": 90}
        stage.statistics |= {"groups": {"a": 3}, "files": [{"file": "motion.npy", "clip_list": None}]}

    def converted(stage, tracked):
        stage.counts |= {"windows": {"train": 1}}
        stage.statistics |= {"groups": {"train": ["a"]}}

    def trained(stage, tracked):
        weights = stage.folder / CHECKPOINT_FILE
        weights.write_text(stage.name)
        tracked.set_tags({CHECKPOINT_TAG: file_digest(weights)})
        stage.counts |= {"epochs": 2}
        stage.statistics |= {"best_epoch": 1, "val_mpjpe_mm": 50.0}

    def run(identity, work):
        return run_stage(empty_store, identity, None, work)

    clips = run(identities.ingest([MotionFile(tmp_path / "motion.npy")], IngestParameters()), ingested)
    windows = run(identities.convert(clips.path, ConvertParameters()), converted)
    pretrained = run(identities.pretrain(windows.path, PretrainParameters()), trained)
    checkpoint = pretrained.path / CHECKPOINT_FILE
    tuned = run(identities.finetune(windows.path, checkpoint, FinetuneParameters()), trained)
    client = connect(empty_store)
    client.create_registered_model(MODEL_NAME)
    weights = tuned.path / CHECKPOINT_FILE
    client.create_model_version(MODEL_NAME, weights.as_uri(), tags={CHECKPOINT_TAG: file_digest(weights)})
    client.set_registered_model_alias(MODEL_NAME, "champion", "1")
    return Night(clips, windows, pretrained, tuned)


STAGES = ["version", "finetune", "pretrain", "convert", "ingest"]


def stages(link):
    """Of the first way back."""
    return [link.stage, *(stages(link.links[0]) if link.links else [])]


def test_a_version_leads_back_to_the_file_that_was_given(night, empty_store, tmp_path):
    chain = trace(empty_store, f"models:/{MODEL_NAME}@champion").chain
    assert stages(chain) == [*STAGES, None]
    source = chain.find("ingest").links[0]
    assert source.digest == file_digest(tmp_path / "motion.npy")
    assert source.about == "motion.npy: a file that was given"
    assert chain.find("convert").stage_digest == night.windows.digest
    (run,) = find_runs(connect(empty_store), night.tuned.digest)
    assert chain.find("finetune").mlflow_run == run.info.run_id


def test_what_came_of_clips_of_windows_and_of_the_file_itself(night, empty_store, tmp_path):
    for reference in (str(tmp_path / "motion.npy"), night.clips.digest, night.windows.digest[:8], night.windows.folder):
        made = [link.stage for link in trace(empty_store, reference).came_of_it]
        assert made[-3:] == ["pretrain", "finetune", "version"]
    assert trace(empty_store, night.tuned.digest).came_of_it[0].about.startswith(VERSION)


def test_mlflow_knows_what_the_store_has_lost(night, empty_store):
    for lost in night:
        shutil.rmtree(lost.folder)
    assert stages(trace(empty_store, VERSION).chain) == [*STAGES, None]
    assert [link.stage for link in trace(empty_store, night.clips.digest).came_of_it] == [*STAGES[3:0:-1], "version"]


def test_an_mlflow_that_cannot_be_asked_is_not_one_that_knows_nothing(night, empty_store, monkeypatch):
    shutil.rmtree(night.clips.folder)

    def locked(*arguments, **options):
        raise MlflowException("database is locked")

    monkeypatch.setattr(MlflowClient, "search_runs", locked)
    lineage = trace(empty_store, VERSION)
    (clips,) = lineage.chain.find("convert").links
    assert "could not be asked: MLflow: database is locked" in clips.unknown
    assert "no answer from: MLflow: database is locked" in list(lineage_lines(lineage))
    with pytest.raises(InputError, match="could not be asked: MLflow: database is locked"):
        trace(empty_store, night.clips.digest)


def test_weights_that_nothing_here_left_say_so(night, empty_store):
    connect(empty_store).set_model_version_tag(MODEL_NAME, "1", CHECKPOINT_TAG, "ab" * 32)
    (weights,) = trace(empty_store, VERSION).chain.links
    assert weights.unknown == f"no finished stage of that digest or path in {empty_store}, and no run of it in MLflow"
    damaged = empty_store / "runs" / night.tuned.digest / "manifest.json"
    damaged.write_text("{}")
    (weights,) = trace(empty_store, VERSION).chain.links
    assert night.tuned.digest in weights.unknown


def test_names_that_are_none_are_refused(night, empty_store):
    for name in ("models:/pose-uplift@nobody", "models:/pose-uplift/7", "models:/another/1", "0123456789abcdef"):
        with pytest.raises(InputError, match=name):
            trace(empty_store, name)


def test_manifest_and_run_name_the_code(night, empty_store):
    code = read_manifest(night.tuned.path)["code"]
    assert code == {**code_version(), "resumed": False}
    (run,) = find_runs(connect(empty_store), night.tuned.digest)
    assert run.data.tags.get("mlflow.source.git.commit") == code["commit"]


def test_code_is_described_as_far_as_it_is_known():
    known = {"commit": "0123456789abcdef", "dirty": False}
    assert describe_code(known) == "code 0123456789"
    assert describe_code({**known, "dirty": True}) == "code 0123456789 with changes that are in no commit"
    assert describe_code({"commit": None, "dirty": None, "why": "no clone"}) == "code not known (no clone)"
    assert describe_code({}) == "code not recorded (by an earlier version)"
