"""Lifted tracks: motion that meets its contract, in metres, upright and on the floor."""

from dataclasses import replace

import numpy as np
import pytest

from data_contracts.motion.bounds import find_faults
from data_contracts.motion.motion import read_motion, write_motion
from data_contracts.parameters import LiftParameters
from data_contracts.skeleton import JOINTS
from model.lifting.lift import lift_people, without_doubtful
from model.lifting.skeleton_fit import bone_lengths, stature_of
from tests.model.lifting.walkers import CAMERA, HEIGHT, WIDTH, before_a_camera, flat_lifter, seen, track_of

PARAMETERS = LiftParameters(pitch_deg=8.0)


@pytest.fixture
def walk(walking):
    return before_a_camera(walking)


def lift(*tracks, window=9, fps=60.0, **parameters):
    return lift_people(flat_lifter(window, fps), tracks, PARAMETERS.model_copy(update=parameters))


def height_of(motion):
    return stature_of(bone_lengths(motion.pose_3d.astype(np.float64), np.ones(motion.confidence.shape)))


@pytest.mark.parametrize("frames", [1, 5, 100])
@pytest.mark.parametrize("fps", [None, 25.0, 60.0])
@pytest.mark.parametrize("causal", [False, True])
def test_motion_meets_its_contract_and_has_the_frames_of_its_track(walk, frames, fps, causal, tmp_path):
    (motion,) = lift(track_of(walk[:frames], fps=fps), causal=causal)
    assert find_faults([motion]).empty
    assert (motion.frames, motion.fps) == (frames, fps or 30.0)
    np.testing.assert_array_equal(motion.pose_2d, seen(walk[:frames]))
    write_motion(motion, tmp_path / "motion.npz")
    again = read_motion(tmp_path / "motion.npz")
    np.testing.assert_array_equal(again.pose_3d, motion.pose_3d)
    assert again.about == motion.about


def test_motion_has_the_height_of_the_parameters(walk):
    (motion,) = lift(track_of(walk), height=1.9)
    assert height_of(motion) == pytest.approx(1.9, abs=1e-3)
    assert motion.about["scale"] == {"stature_m": pytest.approx(1.9), "from": "height", "relative_std": 0.02}
    (untold,) = lift(track_of(walk))
    assert height_of(untold) == pytest.approx(1.7, abs=1e-3)
    assert untold.about["scale"]["from"] == "default"


def test_measured_bone_has_its_length(walk):
    (motion,) = lift(track_of(walk), bones={"left_knee": 0.5}, height=1.5)
    assert np.linalg.norm(motion.pose_3d[:, 5] - motion.pose_3d[:, 4], axis=-1) == pytest.approx(0.5, abs=1e-3)


def test_bones_have_constant_lengths_unless_rigid_is_off(walk):
    def spread(motion):
        return np.linalg.norm(motion.pose_3d[:, 2] - motion.pose_3d[:, 1], axis=-1).std()

    assert spread(lift(track_of(walk))[0]) < 1e-6
    assert spread(lift(track_of(walk), rigid=False)[0]) > 1e-4


def test_root_path_is_near_the_true_one_and_optional(walk):
    (motion,) = lift(track_of(walk), height=1.7)
    true = walk[:, 0] - walk[0, 0]
    gone = motion.root - motion.root[0]
    assert np.corrcoef(gone[:, 0], true[:, 0])[0, 1] > 0.99
    assert motion.about["root"]["from"] == "perspective"
    (off,) = lift(track_of(walk), root=False)
    assert (off.root == off.root[:1]).all()
    assert np.isinf(off.root_std).all()


def test_feet_are_on_the_floor_or_the_camera_is_at_zero(walk):
    lowest = [lift(track_of(walk), floor=floor)[0].joints[:, [3, 6], 2].min() for floor in (True, False)]
    assert 0 < lowest[0] < 0.12
    assert lowest[1] < -0.5


def test_people_of_one_video_share_a_world(walk):
    two = [track_of(walk), track_of(walk + np.array([1.0, 0, 0.5]))]
    other = track_of(walk, video="b.mp4", width=WIDTH * 2, height=HEIGHT * 2)
    motions = lift(*two, other)
    assert [motion.name for motion in motions] == ["person-0", "person-1", "person-2"]
    assert motions[1].root[:, 0].mean() > motions[0].root[:, 0].mean() + 0.5
    assert motions[0].about["camera"] == motions[1].about["camera"] != motions[2].about["camera"]


def test_unknown_image_size_is_the_smallest_common_one(walk):
    (motion,) = lift(track_of(walk, width=None, height=None))
    camera = motion.about["camera"]
    assert (camera["width"], camera["height"], camera["size_from"]) == (WIDTH, HEIGHT, "assumed")


def test_smoothing_removes_jitter(walk):
    keypoints = track_of(walk)
    keypoints.pose_2d[..., :2] += np.random.default_rng(0).normal(size=(len(walk), 17, 2))

    def trembling(motion):
        return np.linalg.norm(np.diff(motion.pose_3d, n=2, axis=0), axis=-1).mean()

    smooth, rough = (lift(keypoints, fit=False, **changes)[0] for changes in ({}, {"smoothing": None}))
    assert trembling(smooth) < 0.5 * trembling(rough)
    assert trembling(lift(keypoints, smoothing=None)[0]) < 0.5 * trembling(rough)  # the fit smooths, too


def test_progress_is_reported(walk):
    shares = []
    lift_people(flat_lifter(), [track_of(walk[:20]), track_of(walk[:60])], PARAMETERS, shares.append)
    assert shares == pytest.approx([0.05, 0.2, 1.0])
    shares.clear()
    unfitted = PARAMETERS.model_copy(update={"fit": False})
    lift_people(flat_lifter(), [track_of(walk[:20]), track_of(walk[:60])], unfitted, shares.append)
    assert shares == [0.25, 1.0]


def test_unseen_joint_has_no_2d_position(walk):
    """A missing keypoint is 0, 0 in a track; drawn there, its bones would reach to the corner of the image."""
    keypoints = track_of(walk[:30])
    keypoints.pose_2d[10:20, 3] = 0
    (motion,) = lift(keypoints)
    assert np.isnan(motion.pose_2d[10:20, 3]).all()
    assert (motion.confidence[10:20, 3] == 0).all()
    assert np.isfinite(np.delete(motion.pose_2d, 3, axis=1)).all()


def test_unknown_rate_is_the_default(walk):
    """30 frames per second in windows and in `about`; otherwise windows would show motion at twice the speed."""
    (untold,), (told,) = lift(track_of(walk[::2], fps=None)), lift(track_of(walk[::2], fps=30.0))
    np.testing.assert_array_equal(untold.pose_3d, told.pose_3d)
    assert untold.about["fps"] == {"value": 30.0, "from": "default"}


def test_one_frame_per_minute_needs_bounded_memory(walk):
    (motion,) = lift(track_of(walk[:20], fps=1 / 60))
    assert find_faults([motion]).empty


def test_measured_bones_scale_causal_lifting(walk):
    (motion,) = lift(track_of(walk), causal=True, bones={"left_knee": 0.5})
    assert np.linalg.norm(motion.pose_3d[-1, 5] - motion.pose_3d[-1, 4]) == pytest.approx(0.5, rel=0.05)


def test_causal_root_path_does_not_depend_on_later_frames(walk):
    keypoints = track_of(walk[:60])
    keypoints.pose_2d[40:50] = 0
    whole, part = (
        lift(track, causal=True, floor=False)[0]
        for track in (keypoints, replace(keypoints, pose_2d=keypoints.pose_2d[:45]))
    )
    np.testing.assert_allclose(whole.root[:45], part.root, atol=1e-5)
    (line,) = lift(keypoints, floor=False)
    assert np.abs(np.diff(line.root[40:50], axis=0)).max() > 0


def test_partly_seen_body_has_the_given_height_and_a_larger_uncertainty(walk):
    keypoints = track_of(walk)
    keypoints.pose_2d[:, [3, 6]] = 0
    (whole,), (part,) = lift(track_of(walk), height=1.8), lift(keypoints, height=1.8)
    assert height_of(part) == pytest.approx(1.8, abs=1e-3)
    assert whole.about["scale"]["relative_std"] == 0.02 < part.about["scale"]["relative_std"]


def test_very_weak_keypoints_inside_the_image_count_as_missing(walk):
    keypoints = track_of(walk)
    keypoints.pose_2d[:, 5:7, :2] = keypoints.pose_2d[:, 7:8, :2]  # a hidden leg that the detector puts on the body
    keypoints.pose_2d[:, 5:7, 2] = 0.1
    (motion,) = lift(keypoints)
    assert (motion.confidence[:, 5:7] == 0).all()
    assert motion.joints[:, 6, 2].max() < 0.3


def test_legs_that_a_detector_only_guesses_are_missing(walking):
    track = track_of(before_a_camera(walking))
    legs = [JOINTS.index(f"{side}_{name}") for side in ("left", "right") for name in ("knee", "ankle")]
    track.pose_2d[:, legs, 2] = 0.3
    assert (without_doubtful(track, CAMERA).pose_2d[:, legs, 2] == 0).all()
    track.pose_2d[::5, legs[:2], 2] = 0.9  # one leg is sometimes certain: the other is hidden, not outside the image
    assert (without_doubtful(track, CAMERA).pose_2d[..., 2] == track.pose_2d[..., 2]).all()
