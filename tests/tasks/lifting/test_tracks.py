"""Tracking of people without ids, and interpolation of gaps."""

import numpy as np

from data_contracts.detector_skeletons import Detector
from data_contracts.parameters import KeypointFormat
from tasks.lifting.formats.detections import Detections
from tasks.lifting.tracks import associate, fill, tracks_of


def walker(start, step, frames=40):
    """Return joints (frames, 17, 2): a cloud 200 px tall that moves along x."""
    shape = np.random.default_rng(7).uniform(-1, 1, (17, 2)) * (40, 100)
    return shape + np.array(start) + np.arange(frames)[:, None, None] * (step, 0)


def detections(frame, joints, person=None):
    return Detections(
        *("f", KeypointFormat.ARRAYS, np.asarray(frame), joints, np.ones(joints.shape[:2]), person, Detector.H36M17)
    )


def mixed(people, seed=0):
    """Return rows of several people per frame in random order, and the person of each row."""
    random = np.random.default_rng(seed)
    rows = [(frame, who) for frame in range(len(people[0])) for who in random.permutation(len(people))]
    frame, whose = np.array(rows).T
    return frame, np.stack([people[who][f] for f, who in rows]), whose


def is_same_partition(a, b):
    return len(set(zip(a, b, strict=True))) == len(set(a)) == len(set(b))


def test_people_are_tracked_in_any_order_within_a_frame():
    frame, joints, whose = mixed([walker((100, 300), 3), walker((400, 300), 0), walker((700, 320), -4)])
    assert is_same_partition(associate(frame, joints, np.ones(joints.shape[:2]), 10), whose)


def test_crossing_people_are_tracked_by_motion():
    frame, joints, whose = mixed([walker((100, 300), 10), walker((500, 330), -10)])
    assert is_same_partition(associate(frame, joints, np.ones(joints.shape[:2]), 10), whose)


def test_distant_person_starts_a_new_track():
    joints = np.concatenate([walker((100, 300), 1, 5), walker((900, 300), 1, 5)])
    tracks = tracks_of(detections(np.arange(10), joints), 10)
    assert [(track.first_frame, len(track.pose_2d)) for track in tracks] == [(0, 5), (5, 5)]


def test_short_gap_is_interpolated_and_long_gap_splits_the_track():
    joints = walker((100, 300), 3)
    frame = np.r_[0:10, 13:20, 35:40]  # gaps of 3 and 15
    for person in (None, np.full(len(frame), 5)):
        first, second = tracks_of(detections(frame, joints[frame], person), 5)
        assert (first.first_frame, len(first.pose_2d)) == (0, 20)
        assert (second.first_frame, len(second.pose_2d)) == (35, 5)
        assert first.interpolated[10:13].all()
        assert first.interpolated.sum() == 3 * 17
        np.testing.assert_allclose(first.pose_2d[..., :2], joints[:20], rtol=1e-5)
        assert {first.person, second.person} == {-1 if person is None else 5}


def test_joint_missing_for_long_or_at_an_end_stays_missing():
    pose = np.concatenate([walker((100, 300), 3), np.ones((40, 17, 1))], axis=-1)
    pose[5:8, 3] = pose[20:30, 4] = pose[:2, 6] = pose[38:, 6] = 0
    pose[8, 3, 2] = 0.25
    filled, interpolated = fill(np.arange(40), pose, 5)
    assert interpolated[5:8, 3].all()
    assert interpolated.sum() == 3
    np.testing.assert_allclose(filled[5:8, 3, 2], 0.25)  # the lesser of both ends
    for frames, joint in ((slice(20, 30), 4), (slice(0, 2), 6), (slice(38, 40), 6)):
        assert (filled[frames, joint] == 0).all()
