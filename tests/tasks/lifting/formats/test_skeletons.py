"""Skeletons are identified from all people of a file, from any side and with clipped legs; other files are named."""

import json
from pathlib import Path

import numpy as np
import pytest

from data_contracts.detector_skeletons import SKELETONS, Detector
from data_contracts.errors import InputError
from data_contracts.parameters import KeypointFormat, KeypointsParameters
from data_contracts.sources import find_keypoints
from tasks.lifting.formats.names import skeleton_of_names
from tasks.lifting.formats.reading import read_keypoints
from tasks.lifting.formats.skeletons import DECIDED, choose_skeleton
from tasks.synthetic.motion import generate
from tests.tasks.lifting.formats.writing import body, mediapipe, mmpose, seen_by, triples

CASES = Path(__file__).parents[3] / "data" / "cases"
IMAGE = {"width": 1280, "height": 720}
SEVENTEEN, TWENTYFIVE = (Detector.COCO17, Detector.H36M17), (Detector.BODY25, Detector.BODY25B)


def read(path, **parameters):
    (found,), _ = read_keypoints(find_keypoints(path), KeypointsParameters(**parameters))
    return found


def refusal(path, **parameters):
    with pytest.raises(InputError) as error:
        read(path, **parameters)
    return str(error.value)


def saved(path, tree):
    path.write_text(json.dumps(tree))
    return path


@pytest.mark.parametrize("name", ["alphapose-results.json", "oblique_refused.json"])
def test_coco_with_clipped_legs_is_coco(name):
    found = read(CASES / "coco_halfbody_read_as_h36m" / name)
    assert found.skeleton is Detector.COCO17
    assert "times better than h36m17" in found.skeleton_from or "usual in alphapose" in found.skeleton_from


def test_h36m_from_the_side_is_h36m(tmp_path):
    path = CASES / "h36m_side_read_as_coco" / "h36m_stand_left.npy"
    assert read(path).skeleton is Detector.H36M17
    mirrored = np.load(path) * [-1, 1] + [1280, 0]
    np.save(tmp_path / "right.npy", mirrored)
    assert read(tmp_path / "right.npy").skeleton is Detector.H36M17


def test_body25_from_the_side_is_body25():
    found = read(CASES / "openpose_body25_side_refused" / "walk_json")
    assert found.skeleton is Detector.BODY25
    assert found.skeleton_from.startswith("best fit: ")


def project(joints, yaw, distance, aim):
    """Return pixels (frames, 17, 2) of joints (frames, 17, 3) in a horizontal camera that looks at the person."""
    towards = np.array([np.cos(yaw), np.sin(yaw), 0])
    offset = joints - (joints[len(joints) // 2, 0] + [0, 0, aim] - distance * towards)
    right = offset @ [towards[1], -towards[0], 0]
    return 1108 * np.stack([right, -offset[..., 2]], -1) / (offset @ towards)[..., None] + [640, 360]


def views(name):
    """Yield keypoints and confidences of synthetic people from all sides: whole, clipped at the edge, or missing."""
    rng = np.random.default_rng(0)
    clips, _ = generate(seed=3, people=1, seconds=1.5)
    for clip in clips:
        for yaw in np.deg2rad(np.arange(0, 360, 30)):
            for distance, aim in ((4, 0), (1.4, 0.35)):
                points = seen_by(name, project(clip.transpose(1, 0, 2)[::4], yaw, distance, aim))
                points += rng.normal(0, 2.5, points.shape)
                outside = ((points < 0) | (points > (1280, 720))).any(axis=-1)
                yield distance > 2, np.clip(points, 0, (1279, 719)), np.where(outside, 0.12, 0.9)
                yield distance > 2, np.where(outside[..., None], 0, points), np.where(outside, 0, 0.9)


@pytest.mark.parametrize("name", [*SEVENTEEN, *TWENTYFIVE])
def test_no_view_is_read_with_the_wrong_skeleton(name):
    names = SEVENTEEN if name in SEVENTEEN else TWENTYFIVE
    refused = count = 0
    for is_whole, points, confidence in views(name):
        choice = choose_skeleton(points, confidence, names, KeypointFormat.ARRAYS)
        assert choice.best is name or choice.factor < DECIDED
        assert not is_whole or choice.factor > 1.5
        refused += choice.factor < DECIDED
        count += 1
    assert refused <= 0.15 * count


def test_poses_that_do_not_identify_a_skeleton_have_the_usual_one_of_the_format_or_are_refused(tmp_path):
    points = triples(seen_by(Detector.COCO17, body()))
    points[:, 7:] = 0
    found = read(saved(tmp_path / "a.json", mmpose(points)))
    assert (found.skeleton, found.skeleton_from) == (
        Detector.COCO17,
        "usual in mmpose; the poses do not identify it",
    )
    np.save(tmp_path / "a.npy", points)
    assert "pass --skeleton coco17 or h36m17" in refusal(tmp_path / "a.npy")


def test_a_whole_body_is_coco_from_any_side(tmp_path):
    side = project(generate(seed=1, people=1, seconds=1)[0][0].transpose(1, 0, 2)[::4], 0.0, 4, 0)
    whole = np.concatenate([seen_by(Detector.COCO17, side), np.full((len(side), 116, 2), 250.0)], axis=1)
    np.save(tmp_path / "a.npy", triples(whole))
    assert read(tmp_path / "a.npy").skeleton is Detector.COCO17


def test_names_determine_the_skeleton():
    coco = SKELETONS[Detector.COCO17].keypoints
    assert skeleton_of_names(coco)[0] is Detector.COCO17
    mmpose_names = ["root", "right_hip", "right_knee", "right_foot", "left_hip", "left_knee", "left_foot", "spine"]
    mmpose_names += ["thorax", "neck_base", "head", *SKELETONS[Detector.H36M17].keypoints[11:]]
    assert skeleton_of_names(mmpose_names)[0] is Detector.H36M17
    assert skeleton_of_names(["left_wrist", "tail"]) is None


def test_zero_confidences_are_named(tmp_path):
    case = CASES / "all_scores_zero_message" / "alphapose-results.json"
    for parameters in ({}, {"skeleton": Detector.COCO17}):
        assert "all confidences are 0, so no keypoint counts as detected" in refusal(case, **parameters)
    np.save(tmp_path / "a.npy", triples(seen_by(Detector.COCO17, body()), 0.0))
    assert "all confidences are 0" in refusal(tmp_path / "a.npy")
    np.save(tmp_path / "b.npy", triples(seen_by(Detector.COCO17, body()), 0.02))
    assert "all confidences are below keypoints.min_confidence=0.05" in refusal(tmp_path / "b.npy")


def test_world_landmarks_of_mediapipe_are_refused_with_the_reason(tmp_path):
    metres = seen_by(Detector.MEDIAPIPE33, body(step=0)) / 100
    metres -= metres[:, 23:25].mean(axis=1, keepdims=True)
    np.save(tmp_path / "a.npy", np.concatenate([metres, np.full((*metres.shape[:2], 1), -0.1)], axis=-1))
    saved(tmp_path / "b.json", mediapipe(triples(metres), 1, 1))
    for name in ("a.npy", "b.json"):
        for size in ({}, IMAGE):
            assert "world landmarks of MediaPipe" in refusal(tmp_path / name, **size)
    landmarks = mediapipe(triples(metres), 1, 1)[0]["landmarks"]
    around_hips = seen_by(Detector.H36M17, body(step=0))[..., :2] / 100
    np.save(tmp_path / "d.npy", around_hips - around_hips[:, [1, 4]].mean(axis=1, keepdims=True))
    assert "the origin is between the hips" in refusal(tmp_path / "d.npy", **IMAGE)
    saved(tmp_path / "c.json", [{"pose_world_landmarks": landmarks}])
    assert "write pose_landmarks" in refusal(tmp_path / "c.json")


@pytest.mark.parametrize(
    ("name", "start", "reason"),
    [
        ("a.pkl", b"\x80\x04\x95", "is a pickle; write its arrays with numpy.savez"),
        ("a.bvh", b"HIERARCHY\nROOT Hips", "is a BVH file (3D motion as joint angles), which needs no lifting"),
        ("a.h5", b"\x89HDF\r\n\x1a\n", "is an HDF5 file; write tables of DeepLabCut as CSV, with save_as_csv=True"),
        ("a.json", b"", "a.json: is empty"),
        ("a.csv", b"0,10.5,20.5\n1,11,21", "has no header with names of columns, e.g. nose_x; the first line is '0'"),
    ],
)
def test_other_files_are_named(name, start, reason, tmp_path):
    (tmp_path / name).write_bytes(start)
    assert reason in refusal(tmp_path / name)


@pytest.mark.parametrize(("count", "kind"), [(22, "the body of SMPL"), (16, "MPII"), (29, "")])
def test_other_numbers_of_keypoints_are_named(count, kind, tmp_path):
    values = np.random.default_rng(0).uniform(100, 400, (12, count, 2))
    np.save(tmp_path / "a.npy", values)
    saved(tmp_path / "b.json", mmpose(triples(values)))
    saved(tmp_path / "c.json", mmpose(triples(values, -0.5)))  # a coordinate instead of a confidence
    for name in ("a.npy", "b.json", "c.json"):
        text = refusal(tmp_path / name)
        for part in (f"has {count} keypoints per person", kind, "coco17 (17)"):
            assert part in text


def test_arrays_of_another_shape_are_refused_with_their_shape(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((12, 51)))
    assert "(people, frames, K, 2 or 3); the file has (12, 51)" in refusal(tmp_path / "a.npy")


def test_whole_bodies_of_openpose_begin_with_body_25b(tmp_path):
    body_25b = triples(seen_by(Detector.BODY25B, body()))
    others = np.random.default_rng(0).uniform(100, 400, (len(body_25b), 110, 3))
    np.save(tmp_path / "a.npy", np.concatenate([body_25b, others / (1, 1, 400)], axis=1))
    (found,), _ = read_keypoints(find_keypoints(tmp_path / "a.npy"), KeypointsParameters())
    assert found.skeleton is Detector.BODY25B
    np.testing.assert_allclose(found.points, body_25b[..., :2])


def test_3d_motion_is_not_taken_for_confidences(tmp_path):
    pose = np.random.default_rng(0).normal(0, 0.5, (12, 17, 3))
    np.save(tmp_path / "a.npy", pose)
    assert "must be a confidence, not a coordinate of 3D motion" in refusal(tmp_path / "a.npy")
