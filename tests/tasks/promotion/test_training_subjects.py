"""Whom a version learned from is told through every run that led to its weights; what nobody knows is said."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities.model_registry import ModelVersion

from data_contracts.parameters import ConvertParameters, FinetuneParameters, IngestParameters, PretrainParameters
from data_contracts.report import StageResult
from data_contracts.sources import MotionFile
from data_contracts.store import stage_keys
from data_contracts.store.digests import file_digest
from data_contracts.store.folders import CHECKPOINT_FILE
from tasks.promotion.training_subjects import LEARNED_FILE, Learned, learned_from, write_learned
from tasks.stage_runs.tracked_stage import run_stage
from tasks.synthetic.motion import PICKLE_FILE
from tasks.tracking.registry import CHECKPOINT_TAG, MODEL_NAME
from tasks.tracking.runs import EXPERIMENT, connect


class House:
    """A store, and what stages leave in it: next to nothing."""

    def __init__(self, store: Path, tmp_path: Path) -> None:
        self.store, self.folder = store, tmp_path

    def clips(self, file: str) -> StageResult:
        (self.folder / file).write_bytes(file.encode())

        def ingested(stage: Any, tracked: Any) -> None:
            stage.statistics |= {"groups": {}, "source": file}
            stage.counts |= {"clips": 0, "frames": 0}

        key = stage_keys.ingest([MotionFile(self.folder / file)], IngestParameters())
        return run_stage(self.store, key, None, ingested)

    def windows(self, file: str, **groups: list[str]) -> StageResult:
        def converted(stage: Any, tracked: Any) -> None:
            stage.statistics |= {"groups": {"train": [], "val": [], "test": []} | groups}
            stage.counts |= {"windows": {}}

        key = stage_keys.convert(self.clips(file).path, ConvertParameters())
        return run_stage(self.store, key, None, converted)

    def trained(self, key: Any) -> StageResult:
        def work(stage: Any, tracked: Any) -> None:
            weights = stage.folder / CHECKPOINT_FILE
            weights.write_text(stage.digest)
            tracked.set_tags({CHECKPOINT_TAG: file_digest(weights)})
            stage.counts |= {"epochs": 2}
            stage.statistics |= {"best_epoch": 1, "val_mpjpe_mm": 50.0}

        return run_stage(self.store, key, None, work)

    def version(self, weights: Path) -> ModelVersion:
        client = connect(self.store)
        client.create_registered_model(MODEL_NAME)
        run = client.create_run(client.get_experiment_by_name(EXPERIMENT).experiment_id)
        tags = {CHECKPOINT_TAG: file_digest(weights)}
        return client.create_model_version(MODEL_NAME, weights.as_uri(), run_id=run.info.run_id, tags=tags)


@pytest.fixture
def house(empty_store, tmp_path) -> House:
    return House(empty_store, tmp_path)


@pytest.fixture
def version(house) -> ModelVersion:
    """Pretrained on the windows of a, b and c; fine-tuned on those of d."""
    first = house.windows("one.npy", train=["a", "c"], val=["b"], test=["x"])
    last = house.windows("three.npy", train=["d"], test=["z"])
    pretrained = house.trained(stage_keys.pretrain(first.path, PretrainParameters()))
    checkpoint = pretrained.path / CHECKPOINT_FILE
    tuned = house.trained(stage_keys.finetune(last.path, checkpoint, FinetuneParameters()))
    return house.version(tuned.path / CHECKPOINT_FILE)


def test_people_of_all_runs_and_windows_that_led_to_it(house, version):
    assert learned_from(house.store, version) == Learned(people=frozenset("abcd"), synthetic=False)


def test_what_was_written_down_outlives_the_windows(house, version):
    write_learned(house.store, version)
    shutil.rmtree(house.store / "windows")
    assert learned_from(house.store, version).people == frozenset("abcd")
    connect(house.store).log_text(version.run_id, '{"people": ["e"], "synthetic": true}', LEARNED_FILE)
    assert learned_from(house.store, version) == Learned(people=frozenset("e"), synthetic=True)


def test_windows_and_weights_that_are_lost_may_hold_anybody(house, version):
    shutil.rmtree(house.store / "windows")
    unknown = learned_from(house.store, version).unknown
    assert len(unknown) == 2
    assert all("the store does not have them any more" in what for what in unknown)


def test_weights_of_strangers_may_know_anybody(house):
    last = house.windows("three.npy", train=["d"])
    foreign = house.folder / "best_epoch.bin"
    foreign.write_bytes(b"weights")
    tuned = house.trained(stage_keys.finetune(last.path, foreign, FinetuneParameters()))
    learned = learned_from(house.store, house.version(tuned.path / CHECKPOINT_FILE))
    assert learned.people == {"d"}
    assert learned.unknown[0].startswith(f"pretrained {file_digest(foreign)}: no finished stage")


def test_the_demos_motion_is_known_as_synthetic_where_only_its_clips_are_left(house):
    windows = house.windows(PICKLE_FILE, train=["s0"])
    tuned = house.trained(stage_keys.pretrain(windows.path, PretrainParameters()))
    assert learned_from(house.store, house.version(tuned.path / CHECKPOINT_FILE)).synthetic
