"""What bodies say about their file: unit, axis and legs; and what brings them to metres with z up."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from data_contracts.errors import InputError
from data_contracts.parameters import IngestParameters
from tasks.ingest.evidence import LEGS_EXCHANGED, Survey, check_evidence, legs_first_left, to_world
from tasks.ingest.layouts import Motion

SOURCE = Path("file.pkl")


def evidence_of(*clips: np.ndarray) -> np.ndarray:
    survey = Survey()
    refs = [survey.add(clip) for clip in clips]
    return survey.evidence([Motion(ref.index, None, ref.shape) for ref in refs])


def turned(walking: np.ndarray, axis: str) -> np.ndarray:
    """The clip with z brought to that axis."""
    sign = -1 if axis[0] == "-" else 1
    return sign * np.roll(walking, {"z": 0, "y": -1, "x": 1}[axis[-1]], axis=-1)


# What is measured


@pytest.mark.parametrize("joints_first", [False, True])
def test_stature_direction_and_legs_are_those_of_the_body(joints_first, walking):
    clip = walking.transpose(1, 0, 2) if joints_first else walking
    ((stature, *upright, cosine),) = evidence_of(clip.astype("f8"))
    assert 1.3 < stature < 2.0
    assert upright[2] > 0.95
    assert math.isclose(np.linalg.norm(upright), 1, rel_tol=1e-6)
    assert cosine > 0.8


def test_only_the_clips_of_motions_are_evidence_and_stacks_give_one_row_each(walking):
    survey = Survey()
    for array in (walking * 1000, np.arange(5.0), np.stack([walking, walking * 2]), walking[:17]):
        survey.add(array)
    motions = [Motion(2, part, walking.shape) for part in range(2)] + [
        Motion(1, None, (5,)),
        Motion(3, None, (17, 17, 3)),
    ]
    rows = survey.evidence(motions)
    assert len(rows) == 2  # a square clip may stand either way round, and is no evidence
    np.testing.assert_allclose(rows[1], rows[0] * [2, 1, 1, 1, 1], rtol=1e-6)


def test_batches_make_no_difference(walking):
    scales = np.linspace(0.5, 1.5, 600)
    rows = evidence_of(*(walking * scale for scale in scales))
    np.testing.assert_allclose(rows[:, 0], scales * rows[0, 0] / scales[0], rtol=1e-5)


def test_a_short_array_of_rates_keeps_its_values_and_a_long_one_does_not():
    survey = Survey()
    assert survey.add(np.array([50.0, 60.0])).values.tolist() == [50, 60]
    assert survey.add(np.zeros(2**20)).values is None
    assert survey.add(np.zeros((5, 2))).values is None
    assert survey.arrays == 3


@pytest.mark.parametrize("dtype", ["f2", ">f8", "i4", "u1"])
def test_any_type_of_number_is_measured(dtype, walking):
    evidence_of((walking * 100).astype(dtype))


@given(arrays.arrays(st.sampled_from(["f2", "f4", "f8", "i8"]), st.sampled_from([(17, 4, 3), (9, 17, 3), (5, 32, 3)])))
def test_garbage_is_a_row_of_nan_or_of_numbers(poses):
    row = evidence_of(poses)[0]
    assert np.isfinite(row).all() or np.isnan(row).all()


# Unit and axis


@pytest.mark.parametrize(("unit", "scale"), [("m", 1), ("cm", 100), ("mm", 1000)])
def test_the_unit_must_be_the_one_that_makes_bodies(unit, scale, walking):
    evidence = evidence_of(*[walking * scale] * 3)
    check_evidence(SOURCE, evidence, IngestParameters(unit=unit))
    for other in {"m", "cm", "mm"} - {unit}:
        with pytest.raises(
            InputError, match=rf"file\.pkl: bodies are .* m tall .*={other};.*--set ingest\.unit={unit}$"
        ):
            check_evidence(SOURCE, evidence, IngestParameters(unit=other))


def test_bodies_of_no_unit_are_refused_with_their_size(walking):
    with pytest.raises(InputError, match=r"are 1\.\d+e\+05 m tall .*in none of m, cm and mm"):
        check_evidence(SOURCE, evidence_of(walking * 1e5), IngestParameters())


def test_the_axis_must_be_the_one_along_which_they_stand(walking):
    check_evidence(SOURCE, evidence_of(turned(walking, "y")), IngestParameters(up="y"))
    with pytest.raises(InputError, match=r"100% of 1 clips stand along y, with ingest\.up=z: pass --set ingest\.up=y"):
        check_evidence(SOURCE, evidence_of(turned(walking, "y")), IngestParameters())
    with pytest.raises(InputError, match=r"stand along z, with ingest\.up=y: pass --set ingest\.up=z"):
        check_evidence(SOURCE, evidence_of(walking), IngestParameters(up="y"))


@pytest.mark.parametrize("axis", ["x", "-x", "-y", "-z"])
def test_a_file_that_stands_along_another_axis_must_be_turned_first(axis, walking):
    for up in ("z", "y"):
        with pytest.raises(InputError, match=rf"100% of 2 clips stand along {axis}, .*turn the file first"):
            check_evidence(SOURCE, evidence_of(*[turned(walking, axis)] * 2), IngestParameters(up=up))


def test_fewer_than_60_percent_are_no_evidence_of_an_axis(walking):
    lying, standing = turned(walking, "y"), walking
    check_evidence(SOURCE, evidence_of(*[lying] * 5, *[standing] * 4), IngestParameters())
    with pytest.raises(InputError, match=r"60% of 5 clips stand along y"):
        check_evidence(SOURCE, evidence_of(*[lying] * 3, *[standing] * 2), IngestParameters())


def test_broken_clips_do_not_count_and_a_file_of_them_is_left_to_the_contract(walking):
    broken = [walking * np.nan, walking * 0, np.full_like(walking, 3e38), walking[:0]]
    check_evidence(SOURCE, evidence_of(*broken * 3, walking), IngestParameters())
    check_evidence(SOURCE, evidence_of(*broken), IngestParameters())
    check_evidence(SOURCE, evidence_of(), IngestParameters())
    assert not legs_first_left(evidence_of(*broken))


@pytest.mark.filterwarnings("error")
def test_real_motion_is_in_metres_z_up_with_the_right_leg_first(cmu_folder):
    from tasks.ingest.reading import read_motion_file

    survey = Survey()
    refs = read_motion_file(cmu_folder / "amass_joints_h36m_60.pkl", survey.add)
    evidence = survey.evidence([Motion(ref.index, None, ref.shape) for ref in refs])  # type: ignore[attr-defined]
    assert np.isfinite(evidence).all()
    assert len(evidence) == 117
    check_evidence(SOURCE, evidence, IngestParameters())
    assert evidence[:, 4].min() > 0.5
    assert not legs_first_left(evidence)


# The legs


def test_legs_in_the_other_order_are_noticed_and_exchanged(walking):
    exchanged = walking[:, LEGS_EXCHANGED]
    assert legs_first_left(evidence_of(exchanged, exchanged, walking))
    assert not legs_first_left(evidence_of(exchanged, walking, walking))
    np.testing.assert_array_equal(to_world(exchanged, "m", "z", True), walking)


# To metres, z up


@pytest.mark.parametrize("dtype", ["f8", ">f8", "f4", "f2", "i2"])
@pytest.mark.parametrize("frames", [0, 1, 17, 300])
@pytest.mark.parametrize("order", ["frames_first", "joints_first", "backwards", "fortran"])
def test_metres_with_z_up_are_a_plain_cast(order, frames, dtype):
    poses = (np.random.default_rng(0).standard_normal((17, frames, 3)) * 9).astype(dtype).transpose(1, 0, 2)
    poses = {
        "frames_first": np.ascontiguousarray(poses),
        "joints_first": poses,
        "backwards": poses[::-1],
        "fortran": np.asfortranarray(poses),
    }[order]
    world = to_world(poses, "m", "z", False)
    assert world.tobytes() == poses.astype(np.float32).tobytes()
    assert (world.shape, world.dtype, world.flags.c_contiguous) == (poses.shape, np.float32, True)


def test_y_up_is_turned_to_z_up_without_a_mirror(walking):
    np.testing.assert_array_equal(to_world(np.array([[[1.0, 2, 3]] * 17]), "m", "y", False)[0, 0], [1, -3, 2])
    y_up = np.stack([walking[..., 0], walking[..., 2], -walking[..., 1]], axis=-1)
    np.testing.assert_array_equal(to_world(y_up, "m", "y", False), walking)


@pytest.mark.parametrize(("unit", "scale"), [("cm", 100), ("mm", 1000)])
def test_units_become_metres_in_the_precision_of_the_file(unit, scale, walking):
    file = walking.astype("f8") * scale
    np.testing.assert_array_equal(to_world(file, unit, "z", False), (file * (1 / scale)).astype(np.float32))
    whole = np.round(file).astype("i2")
    np.testing.assert_allclose(to_world(whole, unit, "z", False), walking, atol=0.6 / scale)


@pytest.mark.parametrize("shape", [(0,), (5,), (4, 3), (17, 0, 3), (0, 17, 3), (9, 24, 3), (2, 3, 4, 5)])
def test_what_is_no_clip_comes_through_in_its_shape(shape):
    for up in ("z", "y"):
        assert to_world(np.ones(shape), "mm", up, True).shape == shape
