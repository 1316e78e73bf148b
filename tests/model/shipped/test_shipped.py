"""The lifter of the package: its files, its training data, and its scores where the motion files are present."""

import pytest
from safetensors import safe_open

from benchmarks.shipped import RECIPE, SCORES, VALIDATION, make_windows, scores_of
from data_contracts.errors import InputError
from data_contracts.parameters.presets import load_preset
from data_contracts.store.checking import check_folder, verify_input
from data_contracts.store.digests import file_digest
from data_contracts.store.folders import CHECKPOINT_FILE, SHIPPED, resolve, resolve_checkpoint
from data_contracts.store.lineage import FinishedStages, data_of_weights
from data_contracts.store.manifests import SHIPPED_RUN, read_manifest
from model.lifting.lifter import load_lifter
from tasks.stage import Context
from tests.conftest import SHARED

LARGEST = 5_000_000  # bytes of the weights, which every clone and wheel contains


def test_the_files_are_those_of_the_manifest_and_small(tmp_path):
    assert check_folder(SHIPPED_RUN).files == 2
    checkpoint = resolve_checkpoint(tmp_path, SHIPPED)
    assert checkpoint.stat().st_size < LARGEST
    with safe_open(checkpoint, framework="pt") as file:
        assert {str(file.get_tensor(name).dtype) for name in file.keys()} == {"torch.float16"}  # noqa: SIM118


def test_the_weights_load_as_a_float32_lifter_with_window_and_frame_rate(tmp_path):
    lifter = load_lifter(resolve_checkpoint(tmp_path, SHIPPED))
    assert {str(weight.dtype) for weight in lifter.parameters()} == {"torch.float32"}
    assert (lifter.window, lifter.fps) == (27, 60.0)


def test_changed_weights_are_refused_with_the_remedy(monkeypatch, tmp_path):
    folder = tmp_path / "shipped"
    folder.mkdir()
    for file in SHIPPED_RUN.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    with (folder / CHECKPOINT_FILE).open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x7f")
    monkeypatch.setattr("data_contracts.store.manifests.SHIPPED_RUN", folder)
    with pytest.raises(InputError, match=r"model\.safetensors: its SHA-256 .*; install this package again"):
        verify_input(folder / CHECKPOINT_FILE)


def test_any_store_knows_the_training_subjects_and_garbage_collection_never_sees_the_run(tmp_path):
    stages = FinishedStages(tmp_path)
    data = data_of_weights(stages, file_digest(SHIPPED_RUN / CHECKPOINT_FILE))
    assert {"01", "c2s", "gs-zombie", "ui01", *VALIDATION} <= {*data.subjects}
    assert not data.unknown
    assert not data.synthetic
    assert "mocap.cs.cmu.edu" in "".join(data.licences)
    assert stages.manifests == {}


def test_the_reference_is_a_training_run(tmp_path):
    assert resolve(tmp_path, "runs", SHIPPED) == SHIPPED_RUN
    with pytest.raises(InputError, match="shipped: expected a folder of kind windows"):
        resolve(tmp_path, "windows", SHIPPED)


def test_the_recorded_scores_are_reproduced_on_the_motion_files(empty_store):
    data = SHARED / "data"
    if not data.is_dir():
        pytest.skip(f"the motion files are absent: no {data}")
    parameters = load_preset("cpu", RECIPE)
    windows = make_windows(str(data), Context(empty_store, parameters))
    scores = scores_of(SHIPPED_RUN / CHECKPOINT_FILE, windows, parameters)
    assert scores == pytest.approx(read_manifest(SHIPPED_RUN)["statistics"][SCORES], abs=0.5)
