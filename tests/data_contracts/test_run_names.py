"""Tests of run names: preset, number of changed parameters, data and time."""

from pathlib import Path

import pytest

from data_contracts.parameters import ConvertParameters
from data_contracts.presets import load_preset, nearest_presets, preset_names
from data_contracts.run_names import input_data_name, run_name
from data_contracts.sources import MotionFile, data_name
from data_contracts.store.digests import StageKey
from data_contracts.store.folders import open_stage


@pytest.mark.parametrize("preset", preset_names())
def test_the_most_similar_preset_of_a_preset_is_itself(preset):
    (name, changed), *_ = nearest_presets(load_preset(preset).identity())
    assert (name, changed) == (preset, {})
    assert run_name("pipeline", load_preset(preset).identity(), "cmu")[:-17] == f"{preset} cmu"


def test_changed_parameters_are_counted_and_listed():
    settings = load_preset("seed", ["pretrain.max_epochs=3", "pretrain.seed=7"]).pretrain.identity()
    assert run_name("pretrain", settings, "cmu")[:-17] == "pretrain seed (2 changed) cmu"
    name, changed = nearest_presets(settings, "pretrain")[0]
    assert (name, set(changed)) == ("seed", {"max_epochs", "seed"})


def test_the_name_contains_no_preset_if_all_presets_are_equal():
    settings = load_preset("demo").promote.identity()
    assert run_name("promote", settings, "")[:-17] == "promote"
    assert run_name("promote", settings | {"min_gain_mm": 9}, "")[:-17] == "promote (1 changed)"


@pytest.mark.parametrize(
    ("files", "name"),
    [
        (["/data/cmu/amass_joints_h36m_60.pkl"], "cmu"),
        (["/data/KIT_joints_h36m_60.pkl"], "KIT"),
        (["/data/walks.npz", "/data/runs.npz"], "walks and 1 more"),
    ],
)
def test_data_is_named_after_its_file(files, name):
    assert data_name([MotionFile(Path(file)) for file in files]) == name


def test_windows_are_named_after_their_source_data(tmp_path):
    with open_stage(tmp_path, StageKey("clips", "ingest", ConvertParameters(), {})) as clips:
        clips.statistics["data"] = "cmu"
    for inputs, name in (({"clips": clips.digest}, "cmu"), ({"clips": "0123"}, "0123")):
        with open_stage(tmp_path, StageKey("windows", "convert", ConvertParameters(), inputs)) as windows:
            pass
        assert input_data_name(tmp_path, {"windows": str(windows.folder)}) == name
        assert input_data_name(tmp_path, {"windows": windows.digest}) == name
    assert input_data_name(tmp_path, {"windows": "/elsewhere/4567"}) == "4567"
    assert input_data_name(tmp_path, {}) == ""
