"""Tests of run names: date, data, and stage or preset."""

import re
from pathlib import Path

import pytest

from data_contracts.parameters import ConvertParameters
from data_contracts.sources import MotionFile, data_name
from data_contracts.store.digests import StageKey
from data_contracts.store.folders import open_stage
from data_contracts.store.run_names import input_data_name, preset_name, run_name


def test_a_run_name_begins_with_date_and_data():
    assert re.fullmatch(r"\d\d-\d\d \d\d:\d\d cmu pretrain", run_name("cmu", "pretrain"))
    assert len(run_name("", "")) == len("11-27 04:30")


def test_a_preset_is_named_with_the_number_of_changed_parameters():
    assert preset_name("demo", []) == "demo"
    assert preset_name("/data/mine.yaml", ["pretrain.max_epochs=1", "convert.views=1"]) == "mine+2"


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
