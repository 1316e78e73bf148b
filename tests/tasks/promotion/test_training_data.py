"""Training data of a version includes that of every run that led to its weights; unknown inputs are reported."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities.model_registry import ModelVersion

from data_contracts.parameters import SYNTHETIC_FILE, PipelineParameters
from data_contracts.sources import MotionFile
from data_contracts.store.digests import file_digest
from data_contracts.store.folders import CHECKPOINT_FILE, StageResult
from data_contracts.store.lineage import TRAINING_DATA, FinishedStages, TrainingData, data_of_inputs
from tasks.stage import Context, StageTask, get_or_compute
from tasks.tracking.registry import (
    CHECKPOINT_TAG,
    MODEL_NAME,
    TRAINING_DATA_FILE,
    read_training_data,
    write_training_data,
)
from tasks.tracking.runs import EXPERIMENT, connect


class SmallStore:
    """A store with small results of the stages."""

    def __init__(self, store: Path, tmp_path: Path) -> None:
        self.store, self.folder = store, tmp_path

    def clips(self, file: str) -> StageResult:
        (self.folder / file).write_bytes(file.encode())

        def ingested(stage: Any, tracked: Any, *_: Any, **inputs: Any) -> None:
            stage.statistics |= {"groups": {}, "source": file, "licence": "CC0"}

        return self.run("ingest", ingested, source=[MotionFile(self.folder / file)])

    def windows(self, file: str, **groups: list[str]) -> StageResult:
        def converted(stage: Any, tracked: Any, *_: Any, **inputs: Any) -> None:
            stage.statistics |= {"groups": {"train": [], "val": [], "test": []} | groups}

        return self.run("convert", converted, clips=self.clips(file).path)

    def trained(self, name: str, records: bool = True, **inputs: Path) -> StageResult:
        """Write a run; without `records` as an earlier version did, which recorded no training data."""

        def work(stage: Any, tracked: Any, *_: Any, **inputs: Any) -> None:
            weights = stage.folder / CHECKPOINT_FILE
            weights.write_text(stage.digest)
            tracked.set_tags({CHECKPOINT_TAG: file_digest(weights)})
            if records:
                data = data_of_inputs(FinishedStages(self.store), stage.inputs)
                stage.statistics[TRAINING_DATA] = data.model_dump(mode="json")

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


def trained_twice(small: SmallStore, records: bool = True) -> Path:
    """Return weights that were pretrained on windows of a, b and c and fine-tuned on windows of d."""
    first = small.windows("one.npy", train=["a", "c"], val=["b"], test=["x"])
    last = small.windows("three.npy", train=["d"], test=["z"])
    pretrained = small.trained("pretrain", records, windows=first.path)
    checkpoint = pretrained.path / CHECKPOINT_FILE
    tuned = small.trained("finetune", records, windows=last.path, pretrained=checkpoint)
    return tuned.path / CHECKPOINT_FILE


@pytest.mark.parametrize("records", [True, False])
def test_subjects_and_sources_of_all_runs_are_training_data(small, records):
    version = small.version(trained_twice(small, records))
    data = read_training_data(small.store, version)
    sources = tuple(sorted(file_digest(small.folder / file) for file in ("one.npy", "three.npy")))
    assert data == TrainingData(subjects=tuple("abcd"), sources=sources, licences=("CC0",))


def test_the_recorded_training_data_outlives_the_windows_and_the_pretrained_run(small):
    weights = trained_twice(small)
    for kind in ("windows", "clips"):
        shutil.rmtree(small.store / kind)
    version = small.version(weights)
    assert read_training_data(small.store, version).subjects == tuple("abcd")
    write_training_data(small.store, version)
    shutil.rmtree(small.store / "runs")
    assert read_training_data(small.store, version).subjects == tuple("abcd")


def test_the_file_of_a_version_that_an_earlier_release_wrote_is_read(small):
    version = small.version(trained_twice(small))
    connect(small.store).log_text(version.run_id, '{"people": ["e"], "synthetic": true}', TRAINING_DATA_FILE)
    assert read_training_data(small.store, version) == TrainingData(subjects=("e",), synthetic=True)


def test_lost_windows_of_runs_without_a_record_are_reported_as_unknown(small):
    version = small.version(trained_twice(small, records=False))
    shutil.rmtree(small.store / "windows")
    unknown = read_training_data(small.store, version).unknown
    assert len(unknown) == 2
    assert all("no finished stage in" in reason for reason in unknown)


def test_foreign_weights_are_reported_as_unknown(small):
    last = small.windows("three.npy", train=["d"])
    foreign = small.folder / "best_epoch.bin"
    foreign.write_bytes(b"weights")
    tuned = small.trained("finetune", windows=last.path, pretrained=foreign)
    data = read_training_data(small.store, small.version(tuned.path / CHECKPOINT_FILE))
    assert data.subjects == ("d",)
    assert data.unknown[0].startswith(f"weights {file_digest(foreign)}: no finished stage")


def test_the_demo_motion_is_recognised_as_synthetic_by_its_clips(small):
    windows = small.windows(SYNTHETIC_FILE, train=["s0"])
    tuned = small.trained("pretrain", windows=windows.path)
    assert read_training_data(small.store, small.version(tuned.path / CHECKPOINT_FILE)).synthetic
