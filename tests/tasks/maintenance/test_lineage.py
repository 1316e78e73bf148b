"""Lineage by digests, from manifests; every unknown link has its reason."""

import shutil
from typing import NamedTuple

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from data_contracts.errors import InputError
from data_contracts.parameters import PipelineParameters
from data_contracts.sources import MotionFile
from data_contracts.store.digests import file_digest
from data_contracts.store.folders import CHECKPOINT_FILE, StageResult
from data_contracts.store.manifests import code_version, describe_code, read_manifest
from flows.terminal.lineage import lineage_lines
from tasks.maintenance.lineage import trace
from tasks.stage import Context, StageTask, get_or_compute
from tasks.tracking.registry import CHECKPOINT_TAG, MODEL_NAME
from tasks.tracking.runs import connect, find_runs

VERSION = f"models:/{MODEL_NAME}/1"


class Chain(NamedTuple):
    """Results of the stages of a pipeline in a store."""

    clips: StageResult
    windows: StageResult
    pretrained: StageResult
    tuned: StageResult


@pytest.fixture
def results(empty_store, tmp_path) -> Chain:
    """Write small results of all stages, and register their version."""
    (tmp_path / "motion.npy").write_bytes(b"motion")

    def ingested(stage, tracked, parameters, **inputs):
        stage.counts |= {"clips": 3, "frames": 90}
        stage.statistics |= {"groups": {"a": 3}, "files": [{"file": "motion.npy", "clip_list": None}]}

    def converted(stage, tracked, parameters, **inputs):
        stage.counts |= {"windows": {"train": 1}}
        stage.statistics |= {"groups": {"train": ["a"]}}

    def trained(stage, tracked, parameters, **inputs):
        weights = stage.folder / CHECKPOINT_FILE
        weights.write_text(stage.name)
        tracked.set_tags({CHECKPOINT_TAG: file_digest(weights)})
        stage.counts |= {"epochs": 2}
        stage.statistics |= {"best_epoch": 1, "val_mpjpe_mm": 50.0}

    def run(name, work, **inputs):
        return get_or_compute(StageTask(name, work), inputs, Context(empty_store, PipelineParameters()))

    clips = run("ingest", ingested, source=[MotionFile(tmp_path / "motion.npy")])
    windows = run("convert", converted, clips=clips.path)
    pretrained = run("pretrain", trained, windows=windows.path)
    tuned = run("finetune", trained, windows=windows.path, pretrained=pretrained.path / CHECKPOINT_FILE)
    client = connect(empty_store)
    client.create_registered_model(MODEL_NAME)
    weights = tuned.path / CHECKPOINT_FILE
    client.create_model_version(MODEL_NAME, weights.as_uri(), tags={CHECKPOINT_TAG: file_digest(weights)})
    client.set_registered_model_alias(MODEL_NAME, "champion", "1")
    return Chain(clips, windows, pretrained, tuned)


STAGES = ["version", "finetune", "pretrain", "convert", "ingest"]


def stages(link):
    """Return the stages along the first link of each step."""
    return [link.stage, *(stages(link.links[0]) if link.links else [])]


def link_of(stage, chain):
    return next(link for link in chain.all() if link.stage == stage)


def test_the_chain_of_a_version_ends_at_the_input_file(results, empty_store, tmp_path):
    chain = trace(empty_store, f"models:/{MODEL_NAME}@champion").chain
    assert stages(chain) == [*STAGES, None]
    source = link_of("ingest", chain).links[0]
    assert source.digest == file_digest(tmp_path / "motion.npy")
    assert source.about == "motion.npy: an input file"
    assert link_of("convert", chain).stage_digest == results.windows.digest
    (run,) = find_runs(connect(empty_store), results.tuned.digest)
    assert link_of("finetune", chain).mlflow_run == run.info.run_id


def test_the_results_made_from_clips_windows_and_a_file_are_listed(results, empty_store, tmp_path):
    for reference in (
        str(tmp_path / "motion.npy"),
        results.clips.digest,
        results.windows.digest[:8],
        results.windows.folder,
    ):
        made = [link.stage for link in trace(empty_store, reference).came_of_it]
        assert made[-3:] == ["pretrain", "finetune", "version"]
    assert trace(empty_store, results.tuned.digest).came_of_it[0].about.startswith(VERSION)


def test_an_error_of_mlflow_is_reported_next_to_the_stages(results, empty_store, monkeypatch):
    def locked(*arguments, **options):
        raise MlflowException("database is locked")

    monkeypatch.setattr(MlflowClient, "search_runs", locked)
    lineage = trace(empty_store, VERSION)
    assert stages(lineage.chain) == [*STAGES, None]
    assert any("MLflow failed: database is locked" in line for line in list(lineage_lines(lineage))[1:])


def test_a_deleted_or_damaged_stage_is_reported_as_unknown(results, empty_store):
    shutil.rmtree(results.clips.folder)
    (clips,) = link_of("convert", trace(empty_store, VERSION).chain).links
    assert clips.unknown == f"no finished stage in {empty_store} has this digest or file"
    with pytest.raises(InputError, match="no finished stage"):
        trace(empty_store, results.clips.digest)
    damaged = empty_store / "runs" / results.tuned.digest / "manifest.json"
    damaged.write_text("{}")
    lineage = trace(empty_store, VERSION)
    assert results.tuned.digest in lineage.chain.links[0].unknown
    assert results.tuned.digest in lineage.unasked[0]


def test_unknown_references_are_refused(results, empty_store):
    for name in ("models:/pose-uplift@nobody", "models:/pose-uplift/7", "models:/another/1", "0123456789abcdef"):
        with pytest.raises(InputError, match=name):
            trace(empty_store, name)


def test_manifest_and_run_have_the_code_version(results, empty_store):
    code = read_manifest(results.tuned.path)["code"]
    assert code == {**code_version(), "resumed": False}
    (run,) = find_runs(connect(empty_store), results.tuned.digest)
    assert run.data.tags.get("mlflow.source.git.commit") == code["commit"]


def test_the_description_of_the_code_covers_changes_and_missing_versions():
    known = {"commit": "0123456789abcdef", "dirty": False}
    assert describe_code(known) == "code 0123456789"
    assert describe_code({**known, "dirty": True}) == "code 0123456789 with uncommitted changes"
    assert describe_code({"commit": None, "dirty": None, "why": "no clone"}) == "code not known (no clone)"
    assert describe_code({}) == "code not recorded (by an earlier version)"
