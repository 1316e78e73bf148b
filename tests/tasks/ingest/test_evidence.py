"""Detection of unit, up axis and leg order from the bodies, and conversion to metres with z up."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from data_contracts.errors import InputError
from data_contracts.parameters import IngestParameters
from tasks.ingest.layouts import Motion
from tasks.ingest.plan import SWAPPED_LEGS, Survey, check_evidence, legs_first_left, to_world

SOURCE = Path("file.pkl")


def evidence_of(*clips: np.ndarray) -> np.ndarray:
    survey = Survey()
    refs = [survey.add(clip) for clip in clips]
    return survey.evidence([Motion(ref.index, None, ref.shape) for ref in refs])


def turned(walking: np.ndarray, axis: str) -> np.ndarray:
    """Return the clip with z moved to that axis."""
    sign = -1 if axis[0] == "-" else 1
    return sign * np.roll(walking, {"z": 0, "y": -1, "x": 1}[axis[-1]], axis=-1)


# Measurements


@pytest.mark.parametrize("joints_first", [False, True])
def test_stature_direction_and_legs_are_measured(joints_first, walking):
    clip = walking.transpose(1, 0, 2) if joints_first else walking
    ((stature, *upright, cosine, misfit),) = evidence_of(clip.astype("f8"))
    assert 1.3 < stature < 2.0
    assert upright[2] > 0.95
    assert math.isclose(np.linalg.norm(upright), 1, rel_tol=1e-6)
    assert cosine > 0.8
    assert misfit < 0.2


def test_only_motions_are_measured_and_each_clip_of_a_stack_has_a_row(walking):
    survey = Survey()
    for array in (walking * 1000, np.arange(5.0), np.stack([walking, walking * 2]), walking[:17]):
        survey.add(array)
    motions = [Motion(2, part, walking.shape) for part in range(2)] + [
        Motion(1, None, (5,)),
        Motion(3, None, (17, 17, 3)),
    ]
    rows = survey.evidence(motions)
    assert len(rows) == 2  # the axes of a square clip are ambiguous, so it has no row
    np.testing.assert_allclose(rows[1], rows[0] * [2, 1, 1, 1, 1, 1], rtol=1e-6)


def test_the_batch_size_does_not_change_the_measurements(walking):
    scales = np.linspace(0.5, 1.5, 600)
    rows = evidence_of(*(walking * scale for scale in scales))
    np.testing.assert_allclose(rows[:, 0], scales * rows[0, 0] / scales[0], rtol=1e-5)


def test_only_a_short_1d_array_keeps_its_values():
    survey = Survey()
    assert survey.add(np.array([50.0, 60.0])).values.tolist() == [50, 60]
    assert survey.add(np.zeros(2**20)).values is None
    assert survey.add(np.zeros((5, 2))).values is None
    assert survey.arrays == 3


@pytest.mark.parametrize("dtype", ["f2", ">f8", "i4", "u1"])
def test_all_number_types_are_measured(dtype, walking):
    evidence_of((walking * 100).astype(dtype))


@given(arrays.arrays(st.sampled_from(["f2", "f4", "f8", "i8"]), st.sampled_from([(17, 4, 3), (9, 17, 3), (5, 32, 3)])))
def test_a_row_of_random_numbers_is_all_finite_or_all_nan(poses):
    row = evidence_of(poses)[0]
    assert np.isfinite(row).all() or np.isnan(row).all()


# Unit and axis


@pytest.mark.parametrize(("unit", "scale"), [("m", 1), ("cm", 100), ("mm", 1000)])
def test_a_wrong_unit_is_refused_with_the_right_one(unit, scale, walking):
    evidence = evidence_of(*[walking * scale] * 3)
    check_evidence(SOURCE, evidence, IngestParameters(unit=unit))
    for other in {"m", "cm", "mm"} - {unit}:
        with pytest.raises(
            InputError, match=rf"file\.pkl: bodies are .* m tall .*={other};.*--set ingest\.unit={unit}$"
        ):
            check_evidence(SOURCE, evidence, IngestParameters(unit=other))


def test_a_size_that_fits_no_unit_is_refused_with_the_size(walking):
    with pytest.raises(InputError, match=r"are 1\.\d+e\+05 m tall .*fits none of m, cm and mm"):
        check_evidence(SOURCE, evidence_of(walking * 1e5), IngestParameters())


def test_a_wrong_up_axis_is_refused_with_the_right_one(walking):
    check_evidence(SOURCE, evidence_of(turned(walking, "y")), IngestParameters(up="y"))
    with pytest.raises(
        InputError, match=r"upright along y in 100% of 1 clips, but ingest\.up=z: pass --set ingest\.up=y"
    ):
        check_evidence(SOURCE, evidence_of(turned(walking, "y")), IngestParameters())
    with pytest.raises(InputError, match=r"upright along z in .*, but ingest\.up=y: pass --set ingest\.up=z"):
        check_evidence(SOURCE, evidence_of(walking), IngestParameters(up="y"))


@pytest.mark.parametrize("axis", ["x", "-x", "-y", "-z"])
def test_every_up_axis_is_detected_and_rotated_to_z_without_mirroring(axis, walking):
    with pytest.raises(InputError, match=rf"upright along {axis} in 100% of 2 clips, .*pass --set ingest\.up={axis}"):
        check_evidence(SOURCE, evidence_of(*[turned(walking, axis)] * 2), IngestParameters())
    check_evidence(SOURCE, evidence_of(turned(walking, axis)), IngestParameters(up=axis))
    corners = np.diag([1.0, 2, 3])[:, None].repeat(17, axis=1)
    world = to_world(corners, "m", axis, False)[:, 0]
    assert np.linalg.det(world) == pytest.approx(6)
    np.testing.assert_array_equal(world[:, 2], (-1 if axis[0] == "-" else 1) * corners[:, 0, "xyz".index(axis[-1])])


def test_an_axis_of_fewer_than_60_percent_of_the_clips_is_ignored(walking):
    lying, standing = turned(walking, "y"), walking
    check_evidence(SOURCE, evidence_of(*[lying] * 5, *[standing] * 4), IngestParameters())
    with pytest.raises(InputError, match=r"upright along y in 60% of 5 clips"):
        check_evidence(SOURCE, evidence_of(*[lying] * 3, *[standing] * 2), IngestParameters())


def test_broken_clips_are_ignored_and_a_file_of_broken_clips_passes(walking):
    broken = [walking * np.nan, walking * 0, np.full_like(walking, 3e38), walking[:0]]
    check_evidence(SOURCE, evidence_of(*broken * 3, walking), IngestParameters())
    check_evidence(SOURCE, evidence_of(*broken), IngestParameters())
    check_evidence(SOURCE, evidence_of(), IngestParameters())
    assert not legs_first_left(evidence_of(*broken))


@pytest.mark.filterwarnings("error")
def test_real_motion_is_in_metres_with_z_up_and_the_right_leg_first(cmu_folder):
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


def test_swapped_legs_are_detected_and_corrected(walking):
    swapped = walking[:, SWAPPED_LEGS]
    assert legs_first_left(evidence_of(swapped, swapped, walking))
    assert not legs_first_left(evidence_of(swapped, walking, walking))
    np.testing.assert_array_equal(to_world(swapped, "m", "z", True), walking)


# To metres, z up


@pytest.mark.parametrize("dtype", ["f8", ">f8", "f4", "f2", "i2"])
@pytest.mark.parametrize("frames", [0, 1, 17, 300])
@pytest.mark.parametrize("order", ["frames_first", "joints_first", "backwards", "fortran"])
def test_metres_with_z_up_are_only_cast(order, frames, dtype):
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


def test_y_up_is_rotated_to_z_up_without_mirroring(walking):
    np.testing.assert_array_equal(to_world(np.array([[[1.0, 2, 3]] * 17]), "m", "y", False)[0, 0], [1, -3, 2])
    y_up = np.stack([walking[..., 0], walking[..., 2], -walking[..., 1]], axis=-1)
    np.testing.assert_array_equal(to_world(y_up, "m", "y", False), walking)


@pytest.mark.parametrize(("unit", "scale"), [("cm", 100), ("mm", 1000)])
def test_units_are_converted_in_the_precision_of_the_file(unit, scale, walking):
    file = walking.astype("f8") * scale
    np.testing.assert_array_equal(to_world(file, unit, "z", False), (file * (1 / scale)).astype(np.float32))
    whole = np.round(file).astype("i2")
    np.testing.assert_allclose(to_world(whole, unit, "z", False), walking, atol=0.6 / scale)


@pytest.mark.parametrize("shape", [(0,), (5,), (4, 3), (17, 0, 3), (0, 17, 3), (9, 24, 3), (2, 3, 4, 5)])
def test_an_array_that_is_not_a_clip_keeps_its_shape(shape):
    for up in ("z", "y"):
        assert to_world(np.ones(shape), "mm", up, True).shape == shape
