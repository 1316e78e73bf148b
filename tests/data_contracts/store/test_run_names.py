"""Tests of run names: stage, data and time."""

from pathlib import Path

import pytest

from data_contracts.parameters import ConvertParameters
from data_contracts.sources import MotionFile, data_name
from data_contracts.store.digests import StageKey
from data_contracts.store.folders import open_stage
from data_contracts.store.run_names import input_data_name, run_name


def test_a_run_is_named_after_stage_data_and_time():
    assert run_name("pretrain", "cmu")[:-17] == "pretrain cmu"
    assert run_name("pipeline", "cmu")[:-17] == "cmu"
    assert len(run_name("gc", "")) == len("gc 2026-11-27 04:30")


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
