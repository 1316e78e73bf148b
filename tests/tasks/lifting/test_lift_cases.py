"""Keypoints that were lifted wrongly, in `tests/data/cases`: a generated person who is 1.75 m tall.

Each test states what is right. The lifter is the one of this package.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from data_contracts.detector_skeletons import SKELETONS, Detector
from data_contracts.parameters import KeypointsParameters, LiftParameters
from data_contracts.skeleton import JOINTS
from data_contracts.sources import find_keypoints
from data_contracts.store.folders import CHECKPOINT_FILE
from data_contracts.store.manifests import SHIPPED_RUN
from model.lifting.lift import lift_people
from model.lifting.lifter import load_lifter
from tasks.lifting.assumptions import assumptions_of
from tasks.lifting.formats.reading import read_keypoints
from tasks.lifting.tracks import tracks_of

CASES = Path(__file__).parents[2] / "data" / "cases"
KNEES, ANKLES = ([JOINTS.index(f"{side}_{name}") for side in ("left", "right")] for name in ("knee", "ankle"))
FACE = ["nose", "left_eye", "right_eye", "left_ear", "right_ear"]
FOCAL_PX = 1152.0


@pytest.fixture(scope="module")
def lifter():
    return load_lifter(SHIPPED_RUN / CHECKPOINT_FILE)


@pytest.fixture
def lift(lifter):
    def lift_case(file: str, missing: Sequence[str] = (), pan: float = 0.0, **parameters):
        (found,), _ = read_keypoints(find_keypoints(CASES / file), KeypointsParameters())
        found.points[..., 0] += pan * np.arange(len(found.points))[:, None]  # pixels per frame
        found.confidence[:, [SKELETONS[Detector.COCO17].keypoints.index(name) for name in missing]] = 0
        (track,) = tracks_of(found, 10)
        (motion,) = lift_people(lifter, [track], LiftParameters(height=1.75, **parameters))
        return motion

    return lift_case


def errors(motion, case):
    """Return the distances (frames, 17) from the true joints, both relative to the pelvis, metres."""
    true = np.load(CASES / case / "truth_h36m.npy")
    return np.linalg.norm(motion.pose_3d - (true - true[:, :1]), axis=-1)


def lengths(motion, parent, child):
    ends = motion.pose_3d[:, JOINTS.index(parent)] - motion.pose_3d[:, JOINTS.index(child)]
    return np.linalg.norm(ends, axis=-1)


def speeds(motion, joints):
    return np.linalg.norm(np.diff(motion.joints[:, joints], axis=0), axis=-1) * motion.fps


def test_legs_that_were_never_seen_hang_from_the_hips(lift):
    motion = lift("upper_body_legs_fold_up/webcam.npz")
    assert 0.85 < motion.joints[:, 0, 2].mean() < 1.0
    assert motion.joints[..., 2].min() > 0
    assert errors(motion, "upper_body_legs_fold_up").mean() < 0.15


def test_keypoints_that_a_detector_moved_to_the_edge_of_the_image_are_missing(lift):
    motion = lift("clipped_legs_measured/halfbody.npz")
    assert lengths(motion, "left_hip", "left_knee") == pytest.approx(0.415, abs=0.015)
    trunk = lengths(motion, "pelvis", "spine") + lengths(motion, "spine", "thorax")
    assert trunk == pytest.approx(0.525, abs=0.025)
    assert errors(motion, "clipped_legs_measured").mean() < 0.12


def test_few_weak_ankles_do_not_set_the_floor(lift):
    ankles = lift("few_weak_ankles_set_floor/webcam.npz").joints[:, ANKLES, 2]
    assert np.median(ankles) == pytest.approx(0.07, abs=0.04)
    assert ankles.max() < 0.15


def test_hands_of_a_handstand_are_on_the_floor(lift):
    assert lift("handstand_under_floor/handstand.npz").joints[..., 2].min() == pytest.approx(0, abs=0.08)


def test_body_that_leans_in_one_pose_does_not_pitch_the_camera(lift):
    pitch = lift("incline_sets_pitch/squat_then_incline.npz", focal_px=FOCAL_PX).about["pitch"]
    assert abs(pitch["deg"]) < 2 * pitch["std_deg"]


def test_moving_camera_is_reported(lift):
    motion, still = lift("moving_camera_no_warning/pan.npz"), lift("walk_to_camera_climbs/walk.npz")
    (line,) = [line for line in assumptions_of({}, [motion], LiftParameters()) if "camera" in line]
    assert line.startswith("camera: does not move, but feet slide at 1.")
    assert "lift.root=false" in line
    assert not [line for line in assumptions_of({}, [still], LiftParameters()) if line.startswith("camera:")]


@pytest.mark.parametrize("pan", [4.0, -4.0])
def test_camera_that_moves_past_a_person_who_walks_is_reported(pan, lift):
    motion = lift("walk_to_camera_climbs/walk.npz", pan=pan)
    assert [line for line in assumptions_of({}, [motion], LiftParameters()) if "feet slide at" in line]


def test_hidden_ankle_stays_near_and_does_not_jump(lift):
    motion = lift("occluded_ankle_teleports/ankle_hidden_30_to_99.npz")
    hidden = motion.confidence == 0
    assert hidden.sum() == 70
    assert errors(motion, "occluded_ankle_teleports")[hidden].mean() < 0.25
    assert speeds(motion, list(range(17))).max() < 6


@pytest.mark.parametrize("missing", [FACE, ["left_ear"], ["right_hip"], ["right_shoulder"]])
def test_keypoints_that_were_never_seen_do_not_spoil_the_others(lift, missing):
    case = "occluded_ankle_teleports"
    motion, whole = (lift(f"{case}/ankle_hidden_30_to_99.npz", without) for without in (missing, []))
    seen = motion.confidence > 0
    assert errors(motion, case)[seen].mean() < errors(whole, case)[seen].mean() + 0.03


@pytest.mark.parametrize("pitch", [{}, {"pitch_deg": 10.0}])
def test_feet_of_a_squat_stand(lift, pitch):
    motion = lift("squat_front_feet_slide/squat.npz", focal_px=FOCAL_PX, **pitch)
    ankles = motion.joints[:, ANKLES]
    assert np.ptp(ankles[..., 2]) < 0.03
    assert speeds(motion, ANKLES).mean() < 0.03
    assert np.ptp(motion.root[:, 2]) == pytest.approx(0.44, abs=0.12)


def test_person_who_walks_to_the_camera_stays_on_the_floor(lift):
    motion = lift("walk_to_camera_climbs/walk.npz", focal_px=FOCAL_PX)
    lower = motion.joints[:, ANKLES, 2].min(axis=1)
    assert lower == pytest.approx(0.085, abs=0.07)
    assert np.ptp(motion.root[:, 2]) < 0.1
    assert abs(motion.about["pitch"]["deg"]) < 3
