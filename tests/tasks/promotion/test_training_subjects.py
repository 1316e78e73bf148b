"""Training subjects of a version are traced through every run that led to its weights; unknown inputs are reported."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities.model_registry import ModelVersion

from data_contracts.parameters import PipelineParameters
from data_contracts.sources import MotionFile
from data_contracts.store.digests import file_digest
from data_contracts.store.folders import CHECKPOINT_FILE, StageResult
from tasks.promotion.training_subjects import (
    TRAINING_SUBJECTS_FILE,
    TrainingSubjects,
    read_training_subjects,
    write_training_subjects,
)
from tasks.stage import Context, StageTask, get_or_compute
from tasks.synthetic.motion import PICKLE_FILE
from tasks.tracking.registry import CHECKPOINT_TAG, MODEL_NAME
from tasks.tracking.runs import EXPERIMENT, connect


class SmallStore:
    """A store with small results of the stages."""

    def __init__(self, store: Path, tmp_path: Path) -> None:
        self.store, self.folder = store, tmp_path

    def clips(self, file: str) -> StageResult:
        (self.folder / file).write_bytes(file.encode())

        def ingested(stage: Any, tracked: Any, *_: Any, **inputs: Any) -> None:
            stage.statistics |= {"groups": {}, "source": file}
            stage.counts |= {"clips": 0, "frames": 0}

        return self.run("ingest", ingested, source=[MotionFile(self.folder / file)])

    def windows(self, file: str, **groups: list[str]) -> StageResult:
        def converted(stage: Any, tracked: Any, *_: Any, **inputs: Any) -> None:
            stage.statistics |= {"groups": {"train": [], "val": [], "test": []} | groups}
            stage.counts |= {"windows": {}}

        return self.run("convert", converted, clips=self.clips(file).path)

    def trained(self, name: str, **inputs: Path) -> StageResult:
        def work(stage: Any, tracked: Any, *_: Any, **inputs: Any) -> None:
            weights = stage.folder / CHECKPOINT_FILE
            weights.write_text(stage.digest)
            tracked.set_tags({CHECKPOINT_TAG: file_digest(weights)})
            stage.counts |= {"epochs": 2}
            stage.statistics |= {"best_epoch": 1, "val_mpjpe_mm": 50.0}

        return self.run(name, work, **inputs)

    def run(self, name: str, work: Any, **inputs: Any) -> StageResult:
        return get_or_compute(StageTask(name, work), inputs, Context(self.store, PipelineParameters()))

    def version(self, weights: Path) -> ModelVersion:
        client = connect(self.store)
        client.create_registered_model(MODEL_NAME)
        run = client.create_run(client.get_experiment_by_name(EXPERIMENT).experiment_id)
        tags = {CHECKPOINT_TAG: file_digest(weights)}
        return client.create_model_version(MODEL_NAME, weights.as_uri(), run_id=run.info.run_id, tags=tags)


@pytest.fixture
def small(empty_store, tmp_path) -> SmallStore:
    return SmallStore(empty_store, tmp_path)


@pytest.fixture
def version(small) -> ModelVersion:
    """Return a version that was pretrained on windows of a, b and c and fine-tuned on windows of d."""
    first = small.windows("one.npy", train=["a", "c"], val=["b"], test=["x"])
    last = small.windows("three.npy", train=["d"], test=["z"])
    pretrained = small.trained("pretrain", windows=first.path)
    checkpoint = pretrained.path / CHECKPOINT_FILE
    tuned = small.trained("finetune", windows=last.path, pretrained=checkpoint)
    return small.version(tuned.path / CHECKPOINT_FILE)


def test_subjects_of_all_runs_and_windows_are_training_subjects(small, version):
    assert read_training_subjects(small.store, version) == TrainingSubjects(subjects=frozenset("abcd"), synthetic=False)


def test_the_written_training_subjects_outlive_the_windows(small, version):
    write_training_subjects(small.store, version)
    shutil.rmtree(small.store / "windows")
    assert read_training_subjects(small.store, version).subjects == frozenset("abcd")
    connect(small.store).log_text(version.run_id, '{"people": ["e"], "synthetic": true}', TRAINING_SUBJECTS_FILE)
    assert read_training_subjects(small.store, version) == TrainingSubjects(subjects=frozenset("e"), synthetic=True)


def test_lost_windows_are_reported_as_unknown(small, version):
    shutil.rmtree(small.store / "windows")
    unknown = read_training_subjects(small.store, version).unknown
    assert len(unknown) == 2
    assert all("the store does not have them any more" in reason for reason in unknown)


def test_foreign_weights_are_reported_as_unknown(small):
    last = small.windows("three.npy", train=["d"])
    foreign = small.folder / "best_epoch.bin"
    foreign.write_bytes(b"weights")
    tuned = small.trained("finetune", windows=last.path, pretrained=foreign)
    training = read_training_subjects(small.store, small.version(tuned.path / CHECKPOINT_FILE))
    assert training.subjects == {"d"}
    assert training.unknown[0].startswith(f"pretrained {file_digest(foreign)}: no finished stage")


def test_the_demo_motion_is_recognised_as_synthetic_by_its_clips(small):
    windows = small.windows(PICKLE_FILE, train=["s0"])
    tuned = small.trained("pretrain", windows=windows.path)
    assert read_training_subjects(small.store, small.version(tuned.path / CHECKPOINT_FILE)).synthetic
