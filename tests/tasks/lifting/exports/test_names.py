"""Motions with unusual names: other readers find the same numbers and the name in every format."""

import json
import warnings
from dataclasses import replace
from pathlib import Path

import c3d
import ezc3d
import numpy as np
import pandas as pd
import pytest
import trimesh

from data_contracts.motion.motion import Motion, read_motion
from data_contracts.parameters import ExportFormat
from data_contracts.text import printable
from tasks.lifting.exports.writing import write_exports
from tests.hostile_names import NAMES
from tests.tasks.lifting.exports.motions import y_up_by_hand

FORMATS = [form for form in ExportFormat if form is not ExportFormat.GIF]  # a GIF contains no name


@pytest.fixture(scope="module", params=NAMES)
def named(request: pytest.FixtureRequest, lifted: Motion) -> Motion:
    return replace(lifted, name=request.param, video=request.param, about={"model": request.param})


@pytest.fixture(scope="module")
def files(named: Motion, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    written = write_exports(named, FORMATS, tmp_path_factory.mktemp("named"))
    return {str(form): path for form, path in zip(FORMATS, written, strict=True)}


def test_every_format_is_readable_with_an_unusual_name(files, named):
    table = pd.read_csv(files["csv"], comment="#")
    np.testing.assert_allclose(table[["pelvis_x", "pelvis_y", "pelvis_z"]], named.joints[:, 0], atol=1e-6)
    first = files["csv"].read_text("utf-8").splitlines()[0]
    assert first == f"# pose-uplift motion: {printable(named.name)}"

    markers = pd.read_csv(files["trc"], sep="\t", skiprows=5, header=None)
    np.testing.assert_allclose(markers.iloc[:, 2:].to_numpy().reshape(-1, 17, 3), y_up_by_hand(named.joints), atol=1e-6)
    kind, version, order, name = files["trc"].read_text("utf-8").splitlines()[0].split("\t")
    assert (kind, version, order, name) == ("PathFileType", "4", "(X/Y/Z)", f"{printable(named.name)}.trc")

    content = json.loads(files["json"].read_text("utf-8"))
    assert (content["name"], content["video"], content["about"]["model"]) == (named.name,) * 3
    assert content["frames"] == named.frames

    again = read_motion(files["npz"])
    assert (again.name, again.video, again.about) == (named.name, named.video, named.about)

    assert f"Frames: {named.frames}\n" in files["bvh"].read_text("ascii")


def test_c3d_has_a_short_ascii_name(files, named):
    expected = printable(named.name).encode("ascii", "backslashreplace").decode()[:127]
    read = ezc3d.c3d(str(files["c3d"]))
    assert read["parameters"]["SUBJECTS"]["NAMES"]["value"] == [expected]
    np.testing.assert_allclose(read["data"]["points"][:3].transpose(2, 1, 0), 1000 * named.joints, atol=1e-2)
    with warnings.catch_warnings(), files["c3d"].open("rb") as opened:
        warnings.filterwarnings("ignore", "No analog data", UserWarning)
        reader = c3d.Reader(opened)
        assert reader.get("SUBJECTS:NAMES").string_value.strip() == expected.strip()
        assert sum(1 for _ in reader.read_frames()) == named.frames


def test_glb_names_its_animation(files, named):
    raw = files["glb"].read_bytes()
    length = int.from_bytes(raw[12:16], "little")
    content = json.loads(raw[20 : 20 + length])
    assert content["animations"][0]["name"] == printable(named.name)
    assert trimesh.load(files["glb"]).geometry
