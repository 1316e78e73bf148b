"""Lines about estimates that may be wrong."""

import numpy as np
import pytest

from data_contracts.motion.motion import Motion
from data_contracts.parameters import LiftParameters
from tasks.lifting.assumptions import assumptions_of

STANDING = np.linspace(0.07, 1.7, 17)[None, :, None] * [0, 0, 1]


def motion(
    height=0.0, pitch=(2.0, 3.0), roll=0.5, hidden=(), name="person-0", root_std=0.1, video="", feet=(0, 0), body=0.0
):
    """Return a motion of 20 frames whose lowest joint is `height` metres too high.

    The body moves with `body` m/s. Relative to it, the left and right foot move with `feet` m/s: a number, or one per
    frame.
    """
    confidence = np.ones((20, 17))
    confidence[:, list(hidden)] = 0
    about = {
        "fps": {"value": 30.0, "from": "keypoints"},
        "scale": {"from": "height"},
        "camera": {"size_from": "known", "from": "given"},
        "pitch": {"deg": pitch[0], "std_deg": pitch[1]},
        "roll": {"deg": roll},
        "floor": {"from": "feet"},
        "feet": {"slower_foot_m_s": 0.5},
    }
    pose = STANDING.repeat(20, axis=0)
    for ankle, speed in zip((6, 3), feet, strict=True):
        pose[:, ankle, 0] += np.cumsum(np.broadcast_to(speed, 20)) / 30
    root = np.array([0, 5, height]) + np.arange(20)[:, None] / 30 * [body, 0, 0]
    keypoints = np.zeros((20, 17, 3))
    std = np.full((20, 3), root_std)
    return Motion(
        name, 30.0, pose, root, std, confidence, confidence == 0, keypoints, video=video, person=-1, about=about
    )


def lines(*motions):
    return assumptions_of({}, motions, LiftParameters(focal_px=1000.0))


def test_certain_motion_has_no_lines():
    assert lines(motion()) == []


def test_person_above_the_floor_is_named():
    (line,) = lines(motion(), motion(height=0.4, name="person-1"))
    assert line.startswith("floor: person-1 stays 0.5 m above the floor")
    assert lines(motion(height=0.4, root_std=np.inf)) == []


def test_joints_without_detections_are_named():
    (line,) = lines(motion(hidden=[3, 6]))
    assert line.startswith("joints: right ankle, left ankle of person-0 are hardly ever detected")


@pytest.mark.parametrize(
    ("case", "begins"),
    [
        ({"pitch": (30.0, 9.4)}, "pitch: 30 ± 9 degrees"),
        ({"roll": -6.6}, "roll: the camera seems to be rolled by -7 degrees"),
    ],
)
def test_doubtful_camera_is_reported_once_per_video(case, begins):
    (line,) = lines(motion(**case), motion(**case))
    assert line.startswith(begins)
    assert len(lines(motion(**case), motion(**case, video="b"))) == 2


STEPS = np.where(np.arange(20) % 10 < 5, -1.2, 1.2)  # of one foot relative to the body


@pytest.mark.parametrize(
    "case",
    [
        {"body": 1.0},  # past a person who stands
        {"body": 0.95, "feet": (0.05, 0.05)},
        {"body": 1.0, "feet": (-0.1, -0.1)},
        {"body": 3.0, "feet": (STEPS, -STEPS)},  # past a person who walks
        {"body": 0.1, "feet": (STEPS, -STEPS)},  # behind a person who walks
        {"body": 1.5, "feet": (1.75 * STEPS, -1.75 * STEPS)},  # behind a person who runs
    ],
)
def test_feet_that_slide_mean_a_moving_camera(case):
    (line,) = lines(motion(**case))
    assert line.startswith("camera: does not move, but feet slide at 0.5 m/s")


@pytest.mark.parametrize(
    "case",
    [
        {"feet": (0.25, 0.25)},
        {"body": 1.2, "feet": (STEPS, -STEPS)},  # walks
        {"body": 3.2, "feet": (1.75 * STEPS, -1.75 * STEPS)},  # runs, with both feet in the air most of the time
        {"body": 0.6, "feet": (np.where(np.arange(20) % 5 == 0, -0.6, 0.1),) * 2},  # dances, and stands now and then
    ],
)
def test_people_before_a_still_camera_do_not_mean_a_moving_camera(case):
    assert lines(motion(**case)) == []
