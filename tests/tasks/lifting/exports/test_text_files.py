"""JSON, CSV and TRC: they contain the motion, its description, and finite numbers only."""

import json
import re
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pandas as pd
import pytest

from data_contracts.errors import InputError
from data_contracts.skeleton import BONES, JOINTS
from data_contracts.sources import MotionFile, find_motion_files
from tasks.lifting.exports.text_files import write_csv, write_json, write_trc
from tasks.lifting.formats.trc import read_trc
from tests.tasks.lifting.exports.motions import motion_of, y_up_by_hand

SCHEMA = Path(__file__).parents[4] / "docs" / "motion.schema.json"
NAMES_OF_NO_NUMBER = re.compile(r"\bnan\b|\binf\b|infinity", re.IGNORECASE)


@pytest.fixture
def schema():
    return json.loads(SCHEMA.read_text("utf-8"))


def known(values):
    """Return an array of a JSON list, with NaN for null."""
    return np.array(values, dtype=float)


def finite(values):
    return np.where(np.isfinite(values), values, np.nan)


def test_json_keeps_the_schema_of_the_docs(lifted, schema, tmp_path):
    write_json(lifted, tmp_path / "motion.json")
    content = json.loads((tmp_path / "motion.json").read_text("utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(content, schema)
    assert set(content) == set(schema["properties"]) == set(schema["required"])
    broken = content | {"confidence": [[2.0] * 17]}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(broken, schema)


def test_json_contains_every_array(lifted, tmp_path):
    write_json(lifted, tmp_path / "motion.json")
    content = json.loads((tmp_path / "motion.json").read_text("utf-8"))
    for name, step in {"pose_3d": 1e-6, "root": 1e-6, "root_std": 1e-6, "pose_2d": 1e-3, "confidence": 1e-4}.items():
        np.testing.assert_allclose(known(content[name]), finite(getattr(lifted, name)), atol=step, rtol=1e-6)
    assert np.array_equal(content["interpolated"], lifted.interpolated)
    assert (content["fps"], content["first_frame"], content["frames"]) == (60.0, 12, lifted.frames)
    assert (content["joints"], content["bones"]) == (list(JOINTS), [list(bone) for bone in BONES])
    assert (content["unit"], content["axes"][:4], content["video"], content["person"]) == ("m", "z up", None, 3)
    assert content["about"] == {"model": "pose-uplift@champion", "scale": {"std": None, "tried": [1.0, None]}}


def test_json_has_null_for_a_person_without_an_id(lifted, schema, tmp_path):
    write_json(replace(lifted, person=-1, video="b.mp4"), tmp_path / "motion.json")
    content = json.loads((tmp_path / "motion.json").read_text("utf-8"))
    jsonschema.validate(content, schema)
    assert (content["person"], content["video"]) == (None, "b.mp4")


def test_csv_is_read_by_pandas(lifted, tmp_path):
    write_csv(lifted, tmp_path / "motion.csv")
    table = pd.read_csv(tmp_path / "motion.csv", comment="#")
    assert list(table.columns[:6]) == ["frame", "time", "pelvis_x", "pelvis_y", "pelvis_z", "pelvis_confidence"]
    assert len(table.columns) == 2 + 17 * 4 + 6
    assert table["frame"].tolist() == list(range(12, 12 + lifted.frames))
    np.testing.assert_allclose(table["time"], np.arange(lifted.frames) / 60, atol=1e-6)
    for index, joint in enumerate(JOINTS):
        np.testing.assert_allclose(table[[f"{joint}_{a}" for a in "xyz"]], lifted.joints[:, index], atol=1e-6)
        np.testing.assert_allclose(table[f"{joint}_confidence"], lifted.confidence[:, index], atol=1e-6)
    np.testing.assert_allclose(table[["root_x", "root_y", "root_z"]], lifted.root, atol=1e-6)
    np.testing.assert_allclose(table[[f"root_std_{a}" for a in "xyz"]], finite(lifted.root_std), atol=1e-6)


def test_csv_next_to_a_recording_is_no_clip_list(lifted, tmp_path):
    (tmp_path / "motion.bvh").touch()
    write_csv(lifted, tmp_path / "motion.csv")
    assert find_motion_files(tmp_path) == [MotionFile(tmp_path / "motion.bvh", None)]


def test_csv_header_contains_unit_axes_and_rate(lifted, tmp_path):
    write_csv(replace(lifted, fps=29.97), tmp_path / "motion.csv")
    comments = [line for line in (tmp_path / "motion.csv").read_text("utf-8").splitlines() if line.startswith("#")]
    said = "\n".join(comments)
    assert "unit: m" in said
    assert "z up" in said
    assert "29.97 frames per second" in said
    assert "person-0" in said


def test_trc_has_the_header_that_opensim_reads(lifted, tmp_path):
    write_trc(lifted, tmp_path / "motion.trc")
    kind, names, values, markers, axes, blank, first, *rest = (tmp_path / "motion.trc").read_text("utf-8").splitlines()
    assert kind.split("\t") == ["PathFileType", "4", "(X/Y/Z)", "person-0.trc"]
    frames = str(lifted.frames)
    assert dict(zip(names.split("\t"), values.split("\t"), strict=True)) == {
        **{"DataRate": "60", "CameraRate": "60", "NumFrames": frames, "NumMarkers": "17", "Units": "m"},
        **{"OrigDataRate": "60", "OrigDataStartFrame": "12", "OrigNumFrames": frames},
    }
    assert markers.split("\t")[:2] == ["Frame#", "Time"]
    assert markers.split("\t")[2::3] == list(JOINTS)
    assert axes.split("\t")[2:5] == ["X1", "Y1", "Z1"]
    assert axes.split("\t")[-1] == "Z17"
    assert blank == ""
    assert len(rest) == lifted.frames - 1
    assert len(first.split("\t")) == len(markers.split("\t")) == len(axes.split("\t")) == 2 + 3 * 17


def test_trc_contains_the_joints_with_y_up(lifted, tmp_path):
    write_trc(lifted, tmp_path / "motion.trc")
    table = pd.read_csv(tmp_path / "motion.trc", sep="\t", skiprows=5, header=None)
    assert table[0].tolist() == list(range(1, lifted.frames + 1))
    np.testing.assert_allclose(table[1], np.arange(lifted.frames) / 60, atol=1e-6)
    joints = table.iloc[:, 2:].to_numpy().reshape(-1, 17, 3)
    np.testing.assert_allclose(joints, y_up_by_hand(lifted.joints), atol=1e-6)
    assert joints[:, JOINTS.index("head"), 1].min() > joints[:, JOINTS.index("left_ankle"), 1].max()


def test_keypoint_reader_refuses_an_exported_trc(lifted, tmp_path):
    write_trc(lifted, tmp_path / "motion.trc")
    with pytest.raises(InputError, match="a TRC in metres is 3D motion"):
        read_trc(tmp_path / "motion.trc")


@pytest.mark.parametrize("write", [write_json, write_csv, write_trc])
def test_all_numbers_are_finite(write, lifted, tmp_path):
    write(lifted, tmp_path / "motion.txt")
    assert not NAMES_OF_NO_NUMBER.search((tmp_path / "motion.txt").read_text("utf-8"))


@pytest.mark.parametrize("write", [write_json, write_csv, write_trc])
def test_output_is_deterministic(write, lifted, tmp_path):
    write(lifted, tmp_path / "one.txt")
    write(lifted, tmp_path / "two.txt")
    assert (tmp_path / "one.txt").read_bytes() == (tmp_path / "two.txt").read_bytes()


def test_fractional_frame_rate_keeps_its_times(walking, tmp_path):
    write_trc(motion_of(walking, fps=59.94), tmp_path / "motion.trc")
    table = pd.read_csv(tmp_path / "motion.trc", sep="\t", skiprows=5, header=None)
    np.testing.assert_allclose(table[1], np.arange(len(walking)) / 59.94, atol=1e-6)
