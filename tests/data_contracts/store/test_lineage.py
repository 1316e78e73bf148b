"""Lineage of a checkpoint: runs are found by its bytes, and an error names the option to pass if they are unknown."""

import shutil

import pytest

from data_contracts.errors import InputError
from data_contracts.parameters import BaselinesParameters, ConvertParameters, FinetuneParameters, PretrainParameters
from data_contracts.store.digests import StageKey, stage_key
from data_contracts.store.folders import CHECKPOINT_FILE, open_stage
from data_contracts.store.lineage import are_baselines, baselines_source, runs_of, train_minutes
from data_contracts.store.manifests import read_manifest

FIT = BaselinesParameters()


def write_windows(store, seed, train):
    key = StageKey("windows", "convert", ConvertParameters(seed=seed), {"clips": "abc"})
    with open_stage(store, key) as stage:
        stage.counts["windows"] = {"train": train, "val": train, "test": 5}
    return stage.folder


def write_run(store, key, weights):
    with open_stage(store, key) as stage:
        (stage.folder / CHECKPOINT_FILE).write_bytes(weights)
        (stage.folder / "last.safetensors").write_bytes(weights + b" and more")
    return stage.folder / CHECKPOINT_FILE


@pytest.fixture
def trained_on(tmp_path):
    return write_windows(tmp_path, seed=0, train=9)


@pytest.fixture
def benchmark(tmp_path):
    """Windows that are only scored on."""
    return write_windows(tmp_path, seed=1, train=0)


@pytest.fixture
def pretrained(tmp_path, trained_on):
    return write_run(tmp_path, stage_key("pretrain", {"windows": trained_on}, PretrainParameters()), b"pretrained")


@pytest.fixture
def checkpoint(tmp_path, trained_on, pretrained):
    return write_run(
        tmp_path,
        stage_key("finetune", {"windows": trained_on, "pretrained": pretrained}, FinetuneParameters()),
        b"tuned",
    )


@pytest.fixture
def copied(checkpoint, tmp_path):
    """Return a copy of the checkpoint, as MLflow downloads it."""
    (tmp_path / "downloaded").mkdir()
    return shutil.copy(checkpoint, tmp_path / "downloaded" / "top-epoch-0001.safetensors")


def test_the_runs_behind_a_checkpoint_are_found_wherever_the_file_is(tmp_path, checkpoint, pretrained, copied):
    for file in (checkpoint, copied):
        assert [run["stage"] for run in runs_of(tmp_path, file)] == ["finetune", "pretrain"]
    assert [run["stage"] for run in runs_of(tmp_path, pretrained)] == ["pretrain"]
    elsewhere = tmp_path / "another store"
    assert [run["stage"] for run in runs_of(elsewhere, checkpoint)] == ["finetune"]  # by the folder of the file


def test_minutes_cover_all_runs_and_are_unknown_if_one_run_is_unknown(tmp_path, checkpoint, pretrained):
    seconds = [read_manifest(file.parent)["seconds"] for file in (checkpoint, pretrained)]
    assert train_minutes(tmp_path, checkpoint) == pytest.approx(sum(seconds) / 60)
    shutil.rmtree(pretrained.parent)
    assert train_minutes(tmp_path, checkpoint) is None


def test_a_damaged_run_hides_no_other_run(tmp_path, checkpoint, trained_on):
    other = write_run(tmp_path, stage_key("pretrain", {"windows": trained_on}, PretrainParameters(seed=1)), b"other")
    (other.parent / "manifest.json").write_text("{}")
    assert len(list(runs_of(tmp_path, checkpoint))) == 2


def test_windows_with_a_training_split_have_baselines_of_their_own(tmp_path, trained_on, checkpoint):
    other = write_windows(tmp_path, seed=2, train=3)
    assert baselines_source(tmp_path, other, checkpoint, None) == other
    assert baselines_source(tmp_path, trained_on, checkpoint, None) == trained_on


def test_a_benchmark_takes_the_baselines_of_the_models_training_windows(tmp_path, benchmark, trained_on, copied):
    source = baselines_source(tmp_path, benchmark, copied, None)
    assert source == trained_on
    assert not are_baselines(source)


def test_windows_or_baselines_that_the_user_names_are_used(tmp_path, benchmark, trained_on, checkpoint):
    other = write_windows(tmp_path, seed=2, train=3)
    with open_stage(tmp_path, stage_key("baselines", {"windows": other}, FIT)) as stage:
        pass
    for reference, expected in ((other.name[:8], other), (str(other), other), (stage.digest, stage.folder)):
        source = baselines_source(tmp_path, benchmark, checkpoint, reference)
        assert source == expected
        assert are_baselines(source) == (source == stage.folder)


def test_unknown_training_windows_are_an_error_that_names_the_option(tmp_path, benchmark, trained_on, checkpoint):
    with pytest.raises(InputError, match=r"the folder or digest of windows or baselines, but .* of stage finetune"):
        baselines_source(tmp_path, benchmark, checkpoint, checkpoint.parent.name)
    foreign = tmp_path / "foreign.bin"
    foreign.write_bytes(b"weights")
    with pytest.raises(
        InputError, match=r"no training split .*windows of .*foreign\.bin are unknown.*pass --baselines"
    ):
        baselines_source(tmp_path, benchmark, foreign, None)
    shutil.rmtree(trained_on)
    with pytest.raises(InputError, match=r"training windows \w{16} of .* are not in .*or pass --baselines"):
        baselines_source(tmp_path, benchmark, checkpoint, None)
