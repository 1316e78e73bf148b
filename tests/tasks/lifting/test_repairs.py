"""Faults of detectors in tracks: jumps, exchanged sides and ids, scene cuts are repaired; fast motion is kept."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data_contracts.detector_skeletons import Detector
from data_contracts.parameters import KeypointFormat, KeypointsParameters
from data_contracts.skeleton import MIRROR
from data_contracts.sources import find_keypoints
from data_contracts.tracks.track import Repairs
from tasks.ingest.reading import read_motion_file
from tasks.lifting.formats.detections import Detections
from tasks.lifting.formats.reading import read_keypoints
from tasks.lifting.tracks import tracks_of
from tasks.synthetic.motion import generate
from tests.model.lifting.walkers import before_a_camera, seen

SHARED = Path(__file__).parents[4] / "shared"
ARMS, LEGS = [11, 12, 13, 14, 15, 16], [1, 2, 3, 4, 5, 6]
RATE = 30
NONE = Repairs()


@pytest.fixture(scope="module")
def clips():
    """Return the motions of people (frames, 17, 3), metres, who walk, run, turn, jump, squat, reach and wave."""
    poses, about = generate(seed=4, people=3, seconds=4)
    return {
        f"{row['action']} {place}": clip.transpose(1, 0, 2)[::2]
        for place, (clip, row) in enumerate(zip(poses, about, strict=True))
    }


@pytest.fixture(scope="module")
def views(clips):
    return {
        f"{name} from {yaw}": seen(before_a_camera(clip, yaw=yaw, distance=9.0))
        for name, clip in clips.items()
        for yaw in (0, 0.8, 1.6)
    }


@pytest.fixture
def walk(clips):
    """Return keypoints (frames, 17, 3) of a person who walks, with noise."""
    return noisy(seen(before_a_camera(next(clip for name, clip in clips.items() if "walk" in name), yaw=0.4)))


def noisy(pose_2d, pixels=2.0):
    moved = pose_2d.copy()
    moved[..., :2] += np.random.default_rng(2).normal(0, pixels, moved[..., :2].shape)
    return moved


def tracks_in(*people, ids=None, frames=None):
    """Return the tracks of people (frames, 17, 3), who are in all frames; NaN: not detected."""
    rows = np.concatenate(people)
    frame = np.concatenate([np.arange(len(one)) for one in people]) if frames is None else frames
    kept = ~np.isnan(rows).any(axis=(1, 2))
    order = np.argsort(frame[kept], kind="stable")
    person = None if ids is None else np.concatenate(ids)[kept][order]
    points, confidence = rows[kept][order][..., :2], rows[kept][order][..., 2]
    given = (frame[kept][order], points.astype(float), confidence.astype(float), person, Detector.H36M17)
    return tracks_of(Detections("f", KeypointFormat.ARRAYS, *given, fps=RATE), 10)


def exchanged(pose_2d, rows, joints):
    result = pose_2d.copy()
    result[rows, np.array(joints)[:, None]] = pose_2d[rows, np.array(MIRROR)[joints][:, None]]
    return result


def test_clean_motion_has_no_repairs(views):
    for name, pose_2d in views.items():
        for given in (pose_2d, noisy(pose_2d)):
            (track,) = tracks_in(given)
            assert track.repairs == NONE, name
            np.testing.assert_allclose(track.pose_2d, given, atol=1e-2)


@pytest.mark.parametrize("people", ["cmu", "cmu_people", "cmu_more", "uiprmd"])
def test_real_motion_has_no_repairs(people):
    """Dance, martial arts, acrobatics and sports of the motion files, in one view each, at 15 and 60 fps."""
    file = SHARED / "data" / people / "amass_joints_h36m_60.pkl"
    if not file.is_file():
        pytest.skip(f"no {file}")
    names = [row["fname"] for row in csv.DictReader(file.with_name("clip_list.csv").open())]
    random = np.random.default_rng(0)
    for name, clip in zip(names, read_motion_file(file, lambda array: array), strict=True):
        pose_2d = seen(before_a_camera(clip.transpose(1, 0, 2)[:400], distance=8.0, yaw=random.uniform(0, 6)))
        for step in (1, 4):
            rows = np.concatenate([pose_2d[::step, :, :2], np.ones((len(pose_2d[::step]), 17, 1))], axis=-1)
            given = np.arange(len(rows)), rows[..., :2], rows[..., 2], np.zeros(len(rows), int), Detector.H36M17
            (track,) = tracks_of(Detections("f", KeypointFormat.ARRAYS, *given, fps=60 / step), 10)
            assert replace(track.repairs, jumping_joints=0) == NONE, name
            assert track.repairs.jumping_joints <= 2, name  # some clips have jumps of one frame


@pytest.mark.parametrize("has_ids", [True, False])
@pytest.mark.parametrize(("length", "metres"), [(1, 0.5), (4, 0.5), (4, 3.0)])
def test_phantom_is_missing_and_interpolated(length, metres, has_ids, walk):
    given = walk.copy()
    given[20 : 20 + length, :, 0] += metres * 221  # pixels per metre
    (track,) = tracks_in(given, ids=[np.zeros(len(walk), int)] if has_ids else None)
    assert track.repairs == replace(NONE, phantom_frames=length)
    assert track.interpolated[20 : 20 + length].all()
    assert track.interpolated.sum() == 17 * length
    np.testing.assert_allclose(track.pose_2d, walk, atol=25)


def test_jumping_joint_is_missing_and_interpolated(walk):
    given = walk.copy()
    given[20, 16, :2] += (90, -60)
    given[40:42, 3, :2] += (-160, 0)
    (track,) = tracks_in(given)
    assert track.repairs == replace(NONE, jumping_joints=3)
    assert [*np.argwhere(track.interpolated).tolist()] == [[20, 16], [40, 3], [41, 3]]
    np.testing.assert_allclose(track.pose_2d, walk, atol=15)


@pytest.mark.parametrize(
    ("joints", "counts"),
    [
        (LEGS + ARMS, {"exchanged_legs": 7, "exchanged_arms": 7}),
        (LEGS, {"exchanged_legs": 7}),
        (ARMS, {"exchanged_arms": 7}),
    ],
)
def test_exchanged_sides_are_exchanged_back(joints, counts, walk):
    rows = [10, 30, 31, 32, 33, 34, 60]
    (track,) = tracks_in(exchanged(walk, rows, joints))
    assert track.repairs == replace(NONE, **counts)
    np.testing.assert_allclose(track.pose_2d, walk, atol=1e-3)


def test_sides_are_kept_where_continuity_is_ambiguous(walk):
    """A track that is exchanged in the first half only shows one exchange, so either half may be wrong."""
    middle = len(walk) // 2
    half = exchanged(walk, [*range(middle)], ARMS)
    (track,) = tracks_in(half)
    assert track.repairs == replace(NONE, unclear_sides=(middle,))
    np.testing.assert_allclose(track.pose_2d, half, atol=1e-3)


def test_scene_cut_ends_and_begins_tracks(walk):
    shots = [walk[:50], walk[50:] + np.array((200, -40, 0)), walk[:40] - np.array((250, 0, 0))]
    for ids in (None, [np.zeros(len(shot), int) for shot in shots]):
        frames = np.arange(sum(map(len, shots)))
        tracks = tracks_in(*shots, ids=ids, frames=frames)
        assert [track.first_frame for track in tracks] == [0, 50, len(walk)]
        assert [len(track.pose_2d) for track in tracks] == [50, len(walk) - 50, 40]
        assert [track.repairs.begins_with for track in tracks] == ["", "scene cut", "scene cut"]


def test_scene_cut_also_cuts_the_track_that_seems_to_continue(walk):
    """Two of three people are elsewhere after the cut; another person is at the place of the third one."""
    still = np.repeat(walk[:1], len(walk), axis=0) + np.array((300, 0, 0))
    given = [np.concatenate([one[:50], one[50:] + np.array((move, 0, 0))]) for one, move in ((walk, 250), (walk, -300))]
    given[1] = given[1] - np.array((300, 0, 0))
    tracks = tracks_in(*given, still, ids=[np.full(len(walk), place) for place in range(3)])
    assert [(track.first_frame, track.repairs.begins_with) for track in tracks] == [(0, "")] * 3 + [
        (50, "scene cut")
    ] * 3


def test_one_of_two_people_who_jumps_begins_a_new_track(walk):
    jumper = np.concatenate([walk[:50], walk[50:] + np.array((250, 0, 0))])
    tracks = tracks_in(jumper, walk - np.array((300, 0, 0)), ids=[np.full(len(walk), place) for place in range(2)])
    found = [(track.person, track.first_frame, track.repairs.begins_with) for track in tracks]
    assert found == [(0, 0, ""), (1, 0, ""), (0, 50, "jump")]


@pytest.mark.parametrize("gap", [0, 3])
def test_exchanged_ids_are_exchanged_back(gap, walk):
    """Two people cross, and the detector exchanges their ids where they meet."""
    t = np.arange(len(walk))[:, None]
    middle = len(walk) // 2
    one, other = walk.copy(), np.roll(walk, 9, axis=0)
    centre = walk[:, :1, 0]
    one[..., 0] += 6 * (t - middle) - centre + 640
    other[..., 0] += -6 * (t - middle) - np.roll(centre, 9, axis=0) + 640
    other[..., 1] += 45
    other[middle - gap : middle] = np.nan  # hidden by the other person
    ids = [np.where(np.arange(len(walk)) < middle, first, 5 - first) for first in (2, 3)]
    tracks = tracks_in(one, other, ids=ids)
    assert [track.person for track in tracks] == [2, 3]
    assert all(track.repairs == replace(NONE, exchanged_ids=(middle,)) for track in tracks)
    np.testing.assert_allclose(tracks[0].pose_2d, one, atol=1e-3)
    right = [np.full(len(walk), first) for first in (2, 3)]
    assert all(track.repairs == NONE for track in tracks_in(one, other, ids=right))


def test_id_that_another_person_takes_over_is_given_back(walk):
    """Person 3 takes over the id of person 2, who goes on with the new id 4."""
    middle = len(walk) // 2
    one, other = walk, walk + np.array((80, -20, 0))
    ids = [np.where(np.arange(len(walk)) < middle, *pair) for pair in ((2, 3), (3, 4))]
    tracks = tracks_in(one, other, ids=ids)
    found = [(track.person, track.first_frame, len(track.pose_2d)) for track in tracks]
    assert found == [(2, 0, len(walk)), (3, 0, middle), (4, middle, len(walk) - middle)]
    np.testing.assert_allclose(tracks[0].pose_2d, one, atol=1e-3)


def test_low_and_unknown_rates_and_moving_cameras_are_no_jumps(walk):
    """Every fifth frame, read as 30 fps, and a camera that turns fast: people seem to move at 8 m/s all the time."""
    given = walk[::5].copy()
    given[:, :, 0] += 45 * np.arange(len(given))[:, None]
    (track,) = tracks_in(given, ids=[np.zeros(len(given), int)])
    assert replace(track.repairs, jumping_joints=0) == NONE


def test_a_person_with_few_joints_or_frames_is_read():
    pose_2d = np.zeros((5, 17, 3))
    pose_2d[:, 9] = 100, 100, 1
    pose_2d[3, 9, :2] = 900
    (track,) = tracks_in(pose_2d, ids=[np.zeros(5, int)])
    assert len(track.pose_2d) == 5
    (track,) = tracks_in(pose_2d[:1])
    assert len(track.pose_2d) == 1


@pytest.mark.parametrize(
    ("name", "repairs"),
    [
        ("detections/alphapose_halpe26/alphapose-results.json", {"exchanged_legs": 3, "exchanged_arms": 1}),
        ("detections/hrnet_coco17/baseball.json", {}),
        ("detections/openpose_body25b/cam01_json", {}),
        ("detections/openpose_body25b/cam02_json", {}),
        ("real_video/STS_mediapipe.json", {}),
        ("real_video/squat_mediapipe.json", {}),
    ],
)
def test_real_detections_are_repaired_where_they_are_wrong(name, repairs):
    """AlphaPose exchanges the legs of a dancer in frames 119, 190 and 381, as the neighbouring frames show."""
    if not (SHARED / name).exists():
        pytest.skip(f"no {SHARED / name}")
    (found,), _ = read_keypoints(find_keypoints(SHARED / name), KeypointsParameters())
    tracks = [track for track in tracks_of(found, 10) if len(track.pose_2d) >= 10]
    sums = {
        field: sum(getattr(track.repairs, field) for track in tracks) for field in ("exchanged_legs", "exchanged_arms")
    }
    assert sums == {"exchanged_legs": 0, "exchanged_arms": 0} | repairs
    assert all((track.repairs.phantom_frames, track.repairs.begins_with) == (0, "") for track in tracks)
    assert sum(track.repairs.jumping_joints for track in tracks) < 0.003 * 17 * sum(
        len(track.pose_2d) for track in tracks
    )
