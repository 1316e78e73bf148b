"""The contract of a benchmark's clip: a body in front of the camera, at its keypoints."""

from dataclasses import replace

import numpy as np
import pytest

from data_contracts.benchmarks.clips import BenchmarkClip, check_clip, read_clip, write_clip
from data_contracts.errors import InputError
from data_contracts.skeleton import MIRROR
from tests.model.lifting.walkers import before_a_camera


@pytest.fixture(scope="module")
def clip(walking):
    truth = before_a_camera(walking).astype(np.float32)
    keypoints = np.concatenate([truth[..., :2] / truth[..., 2:], np.ones((*truth.shape[:2], 1))], axis=-1)
    scored = np.arange(len(truth)) > 4
    return BenchmarkClip("S9 Walking", "S9", "Walking", 50.0, keypoints.astype(np.float32), truth, scored)


def test_a_clip_is_valid_and_read_again(clip, tmp_path):
    check_clip(clip)
    write_clip(clip, tmp_path / "clip.npz")
    again = read_clip(tmp_path / "clip.npz", clip.name, clip.subject, clip.group, clip.fps)
    for name in ("keypoints", "truth", "scored"):
        np.testing.assert_array_equal(getattr(again, name), getattr(clip, name))
    assert (again.name, again.fps, again.detected.all()) == (clip.name, 50.0, True)


def test_truth_of_frames_that_are_not_scored_may_be_anything(clip):
    truth = clip.truth.copy()
    truth[:5] = np.nan
    check_clip(replace(clip, truth=truth))


def with_nan(array):
    array = array.copy()
    array[30, 3, 1] = np.nan
    return array


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda clip: {"truth": clip.truth[:-1]}, r"truth has shape .*, expected"),
        (lambda clip: {"truth": clip.truth[:, :14]}, r"truth has shape .* expected \(196, 17, 3\)"),
        (lambda clip: {"keypoints": clip.keypoints[..., :2]}, "keypoints has shape"),
        (lambda clip: {name: getattr(clip, name)[:0] for name in ("keypoints", "truth", "scored")}, "0 frames"),
        (lambda clip: {"truth": with_nan(clip.truth)}, "NaN or infinity"),
        (lambda clip: {"keypoints": with_nan(clip.keypoints)}, "NaN or infinity"),
        (lambda clip: {"truth": 1000 * clip.truth}, "unit, axes or camera differ"),
        (lambda clip: {"truth": clip.truth - clip.truth[:, :1]}, "unit, axes or camera differ"),
        (lambda clip: {"truth": 0.1 * clip.truth}, "times the size of an adult; its unit must be metres"),
        (lambda clip: {"keypoints": 0 * clip.keypoints}, "no 2D keypoint in the scored frames"),
        (
            lambda clip: {"keypoints": clip.keypoints + np.float32([0.1, 0, 0])},
            "people, joints or cameras",
        ),
        (lambda clip: {"keypoints": np.roll(clip.keypoints, 5, axis=1)}, "people, joints or cameras"),
    ],
)
def test_a_broken_clip_is_refused_with_its_name_and_fault(change, fault, clip):
    with pytest.raises(InputError, match=rf"^S9 Walking: .*{fault}"):
        check_clip(replace(clip, **change(clip)))


def test_exchanged_sides_of_a_detector_are_no_fault_of_the_files(clip):
    keypoints = clip.keypoints.copy()
    keypoints[50:60] = keypoints[50:60][:, list(MIRROR)]
    check_clip(replace(clip, keypoints=keypoints))
