"""C3D and TRC files of markers or joint centres become metres with z up, cut at long gaps."""

import struct

import c3d
import numpy as np
import pytest

from data_contracts.errors import InputError
from data_contracts.skeleton import JOINTS, LIMB_BONES
from tasks.ingest.formats.c3d import read_c3d
from tasks.ingest.formats.markers import fill_gaps
from tasks.ingest.formats.plug_in_gait import joints_of_markers
from tasks.lifting.exports.c3d_file import write_c3d as export_c3d
from tasks.lifting.exports.text_files import write_trc as export_trc
from tests.tasks.ingest.formats.marker_files import plug_in_gait, write_c3d, write_trc
from tests.tasks.ingest.formats.reading import read_recording
from tests.tasks.lifting.exports.motions import motion_of

WRITERS = {"c3d": write_c3d, "trc": write_trc}
SUBJECT = "Anna:"


@pytest.fixture
def gait(walking) -> dict[str, np.ndarray]:
    return plug_in_gait(walking)


@pytest.mark.parametrize("kind", WRITERS)
def test_plug_in_gait_markers_become_joint_centres(kind, gait, walking, tmp_path):
    WRITERS[kind](tmp_path / f"gait.{kind}", {SUBJECT + name: marker for name, marker in gait.items()})
    tree, (clip,) = read_recording(tmp_path / f"gait.{kind}")
    assert tree.about == f"{kind.upper()} of Plug-in-Gait markers, unit mm, {'z' if kind == 'c3d' else 'y'} up"
    assert (tree["names"], tree["fps"], clip.dtype) == ("gait", 100, np.float32)
    error = np.linalg.norm(clip - walking, axis=-1)
    most = dict.fromkeys(JOINTS, 0.01) | {"nose": 0.11, "head": 0.11, "spine": 0.03}
    most |= {f"{side}_{joint}": 0.025 for side in ("left", "right") for joint in ("knee", "ankle")}
    most |= {"left_elbow": 0.035, "right_elbow": 0.035}
    for index, joint in enumerate(JOINTS):
        assert error[:, index].max() < most[joint], joint
    lengths = np.stack([np.linalg.norm(clip[:, a] - clip[:, b], axis=1) for a, b in LIMB_BONES])
    assert lengths.std(axis=1).max() < 0.005


def test_hips_follow_harrington(gait):
    """A pelvis 240 mm wide and 150 mm deep, computed by hand from the paper's equations."""
    at = {"LASI": (-0.12, 0.15, 1), "RASI": (0.12, 0.15, 1), "LPSI": (-0.05, 0, 1), "RPSI": (0.05, 0, 1)}
    joints = joints_of_markers(gait | {name: np.tile(place, (len(gait["LASI"]), 1)) for name, place in at.items()})
    np.testing.assert_allclose(joints[0, [1, 4]], [[0.0865, 0.1041, 0.9171], [-0.0865, 0.1041, 0.9171]], atol=1e-6)


@pytest.mark.parametrize(("unit", "per_metre"), [("m", 1.0), ("cm", 100.0), ("", 1000.0), ("furlongs", 1.0)])
def test_the_unit_is_that_of_the_header_or_of_a_human_body(unit, per_metre, gait, tmp_path):
    write_c3d(tmp_path / "mm.c3d", gait)
    write_c3d(tmp_path / "other.c3d", gait, unit, per_metre)
    (_, (expected,)), (_, (clip,)) = read_recording(tmp_path / "mm.c3d"), read_recording(tmp_path / "other.c3d")
    np.testing.assert_allclose(clip, expected, atol=1e-5)


def test_a_unit_that_contradicts_the_body_is_refused(gait, tmp_path):
    write_c3d(tmp_path / "a.c3d", gait, "m", 1000.0)
    with pytest.raises(InputError, match=r"a\.c3d: the body is 1\d+ units .*not a human size in m, the unit in its"):
        read_recording(tmp_path / "a.c3d")


def test_exports_of_this_project_are_read_back(walking, tmp_path):
    for export, name in ((export_c3d, "a.c3d"), (export_trc, "a.trc")):
        export(motion_of(walking), tmp_path / name)
        tree, (clip,) = read_recording(tmp_path / name)
        assert "of joint centres" in tree.about
        np.testing.assert_allclose(clip, walking, atol=2e-6)


def test_joint_centres_have_the_names_of_pose2sim(walking, tmp_path):
    parts = {"Hip": "hip", "Knee": "knee", "Ankle": "ankle", "Shoulder": "shoulder", "Elbow": "elbow", "Wrist": "wrist"}
    names = {f"{s[0].upper()}{part}": f"{s}_{joint}" for part, joint in parts.items() for s in ("left", "right")}
    names |= {"Neck": "thorax", "Nose": "nose", "Head": "head"}
    write_trc(tmp_path / "a.trc", {name: walking[:, JOINTS.index(joint)] for name, joint in names.items()})
    _, (clip,) = read_recording(tmp_path / "a.trc")
    for joint in names.values():
        np.testing.assert_allclose(clip[:, JOINTS.index(joint)], walking[:, JOINTS.index(joint)], atol=1e-5)


# Gaps


@pytest.mark.parametrize("kind", WRITERS)
def test_short_gaps_are_filled_and_long_gaps_cut_the_recording(kind, gait, tmp_path):
    path = tmp_path / f"a.{kind}"
    WRITERS[kind](path, gait)
    _, (whole,) = read_recording(path)
    gait["LKNE"][20:40] = np.nan
    gait["LTOE"][:] = np.nan  # not used
    gait["C7"][100:121] = 0
    WRITERS[kind](path, gait)
    tree, clips = read_recording(path)
    assert [len(clip) for clip in clips] == [100, len(whole) - 121]
    assert tree["names"] == "a"  # of both clips, so that they are one group
    assert tree.about.endswith(f"2 clips between gaps, 21 of {len(whole)} frames left out")
    np.testing.assert_allclose(clips[0], whole[:100], atol=0.02)
    np.testing.assert_allclose(clips[1], whole[121:], atol=5e-3)


def test_a_gap_is_filled_without_overshoot_and_not_beyond_the_ends():
    points = np.linspace([0, 0, 0], [9, 18, 27], 10)[:, None]
    points[[0, 4, 5, 9]] = np.nan
    filled = fill_gaps(points, 60)
    np.testing.assert_allclose(filled[1:9], np.linspace([1, 2, 3], [8, 16, 24], 8)[:, None])
    assert np.isnan(filled[[0, 9]]).all()
    assert np.isnan(fill_gaps(points, 5)[4:6]).all()  # two frames are 0.4 s
    assert np.isnan(fill_gaps(np.full((4, 1, 3), np.nan), 60)).all()


def test_missing_markers_are_named(gait, tmp_path):
    gait["RANK"][:] = np.nan
    del gait["C7"]
    write_trc(tmp_path / "a.trc", gait)
    with pytest.raises(InputError, match=r"a\.trc: the Plug-in-Gait markers RANK, C7 are missing or hidden"):
        read_recording(tmp_path / "a.trc")
    write_trc(tmp_path / "a.trc", {"M1": gait["LASI"]})
    with pytest.raises(InputError, match=r"a\.trc: no joint found for left_hip, .*; the file has the names M1; rename"):
        read_recording(tmp_path / "a.trc")


def test_markers_that_are_never_all_visible_are_refused(gait, tmp_path):
    gait["RANK"][::2], gait["LANK"][1::2] = np.nan, np.nan
    write_c3d(tmp_path / "a.c3d", gait, fps=4)
    with pytest.raises(InputError, match=r"a\.c3d: no two successive frames have all of LASI, "):
        read_recording(tmp_path / "a.c3d")


# C3D


def c3d_by_hand(markers: dict[str, np.ndarray], order: str, processor: int, scale: float) -> bytes:
    """Return a C3D file with integers (`scale` millimetres) or, if the scale is negative, floats."""
    labels = np.array([name.ljust(4) for name in markers], "S4")
    number = struct.Struct(f"{order}h")
    section = bytes([1, 0x50, 2, processor]) + b"\x05\xffPOINT" + number.pack(3) + b"\0"
    for name, shape, text in ((b"LABELS", (4, len(markers)), labels.tobytes()), (b"UNITS", (2,), b"mm")):
        value = struct.pack("b", -1) + bytes([len(shape), *shape]) + text + b"\0"
        section += bytes([len(name), 1]) + name + number.pack(len(value) + 2) + value
    points = np.stack(list(markers.values()), axis=1)
    points = np.insert(1000 * points / (scale if scale > 0 else 1), 3, 0, axis=-1)
    header = b"\x02\x50" + struct.pack(f"{order}5H", len(markers), 0, 1, len(points), 10)
    header += struct.pack(f"{order}fHHf", scale, 4, 0, 100.0)
    data = np.rint(points).astype(f"{order}i2") if scale > 0 else points.astype(f"{order}f4")
    return header.ljust(512, b"\0") + section.ljust(1024, b"\0") + data.tobytes()


@pytest.mark.parametrize(("order", "processor"), [("<", 84), (">", 86)])
@pytest.mark.parametrize("scale", [-1.0, 0.1])
def test_integers_floats_and_both_byte_orders_are_read(scale, order, processor, gait, tmp_path):
    write_c3d(tmp_path / "ezc3d.c3d", gait)
    (tmp_path / "a.c3d").write_bytes(c3d_by_hand(gait, order, processor, scale))
    (_, (expected,)), (tree, (clip,)) = read_recording(tmp_path / "ezc3d.c3d"), read_recording(tmp_path / "a.c3d")
    np.testing.assert_allclose(clip, expected, atol=1e-5 if scale < 0 else 5e-4)
    assert tree["fps"] == 100
    if order == "<" and scale < 0:
        assert c3d.Reader((tmp_path / "a.c3d").open("rb")).point_labels.tolist() == [name.ljust(4) for name in gait]


def test_a_dec_file_is_refused_with_the_remedy(gait, tmp_path):
    (tmp_path / "a.c3d").write_bytes(c3d_by_hand(gait, "<", 85, -1.0))
    with pytest.raises(InputError, match="in the byte order of Intel or MIPS; save the file again"):
        read_recording(tmp_path / "a.c3d")


@pytest.mark.parametrize(
    ("place", "data", "reason"),
    [
        (0, b"\xff", "byte 130048: expected a parameter section"),
        (2, b"\xff\xff", "frames of 65535 markers are declared, but"),
        (2, b"\0\0", "0 markers are declared"),
        (8, b"\xf0\xff", "65520 frames of 24 markers are declared"),
        (16, b"\0\0", "bytes follow at byte -512"),
        (20, struct.pack("<f", float("nan")), "byte 20: the frame rate is nan"),
        (515, b"\x55", "byte 512: expected a parameter section"),
    ],
)
def test_a_damaged_c3d_is_refused_with_the_byte(place, data, reason, gait, tmp_path):
    path = tmp_path / "a.c3d"
    write_c3d(path, gait)
    content = bytearray(path.read_bytes())
    content[place : place + len(data)] = data
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"a\.c3d: .*{reason}"):
        read_c3d(path, lambda clip: clip)


def test_a_c3d_that_ends_early_is_refused(gait, tmp_path):
    write_c3d(tmp_path / "a.c3d", gait)
    (tmp_path / "b.c3d").write_bytes((tmp_path / "a.c3d").read_bytes()[:-5000])
    with pytest.raises(InputError, match=r"b\.c3d: byte 2: 196 frames of 24 markers are declared, but"):
        read_recording(tmp_path / "b.c3d")


# TRC


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("\tmm", "\tpx", "line 3: Units are pixels, so these are 2D keypoints; pass them to `uplift lift`"),
        ("DataRate", "Rate", "line 3: DataRate is ''; expected 0 < DataRate <= 1000"),
        ("\t196\t", "\t195\t", "195 frames of 74 numbers are declared, but more frames"),
        ("\t196\t", "\t9999999\t", "9999999 frames of 74 numbers are declared, but the file has"),
        ("\n3\t", "\nx\t", "a frame after line 5 .*could not convert string 'x'"),
        ("Frame#\tTime", "", "line 4: expected Frame#, Time and the name|no joint found|numbers are declared"),
    ],
)
def test_a_damaged_trc_is_refused_with_the_line(old, new, reason, gait, tmp_path):
    path = tmp_path / "a.trc"
    write_trc(path, gait)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(InputError, match=rf"a\.trc: .*({reason})"):
        read_recording(path)
