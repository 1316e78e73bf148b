"""Detectors' keypoints brought to H36M: the tables, what is missing, and real files of four detectors."""

import json
from pathlib import Path

import numpy as np
import pytest

from data_contracts.detector_skeletons import SKELETONS, Detector
from data_contracts.skeleton import BONES, JOINTS, MIRROR

DETECTIONS = Path(__file__).parent.parent.parent.parent / "shared" / "detections"
KEYPOINTS = {
    "coco17": 17, "coco18": 18, "halpe26": 26, "halpe136": 136, "body25": 25, "body25b": 25, "mediapipe33": 33,
    "h36m17": 17,
}  # fmt: skip
PELVIS, SPINE, THORAX, NOSE, HEAD = (JOINTS.index(name) for name in ("pelvis", "spine", "thorax", "nose", "head"))
ALL = pytest.mark.parametrize("name", list(Detector))


def detected(name, frames=3):
    """Keypoints (frames, K, 2) and confidence (frames, K), drawn."""
    random, count = np.random.default_rng(0), len(SKELETONS[name].keypoints)
    return random.uniform(0, 500, (frames, count, 2)), random.uniform(0.1, 1, (frames, count))


def exchanged(names):
    """Return for each name the index of its counterpart on the other side."""
    other = {"left_": "right_", "right_": "left_"}
    return [names.index(other[side] + name if side else name) for side, name in map(side_of, names)]


def side_of(name):
    side = next((side for side in ("left_", "right_") if name.startswith(side)), "")
    return side, name.removeprefix(side)


@ALL
def test_every_keypoint_has_its_own_name_and_a_counterpart_on_the_other_side(name):
    names = SKELETONS[name].keypoints
    assert len(set(names)) == len(names) == KEYPOINTS[name]
    assert sorted(exchanged(names)) == list(range(len(names)))


def test_the_orders_are_those_that_detectors_write():
    for name, at in {
        Detector.COCO17: {"nose": 0, "left_eye": 1, "right_ear": 4, "left_hip": 11, "right_ankle": 16},
        Detector.COCO18: {"neck": 1, "right_shoulder": 2, "left_wrist": 7, "right_hip": 8, "left_ear": 17},
        Detector.HALPE26: {"head": 17, "neck": 18, "mid_hip": 19, "left_big_toe": 20, "right_heel": 25},
        Detector.HALPE136: {"face_0": 26, "left_hand_0": 94, "right_hand_0": 115},
        Detector.BODY25: {"mid_hip": 8, "right_hip": 9, "right_eye": 15, "left_heel": 21, "right_heel": 24},
        Detector.BODY25B: {"right_ankle": 16, "neck": 17, "head": 18, "left_big_toe": 19, "right_big_toe": 22},
        Detector.MEDIAPIPE33: {"left_eye": 2, "right_ear": 8, "right_hip": 24, "right_foot_index": 32},
    }.items():  # fmt: skip
        for keypoint, index in at.items():
            assert SKELETONS[name].keypoints[index] == keypoint
    assert SKELETONS[Detector.HALPE136].keypoints[:26] == SKELETONS[Detector.HALPE26].keypoints


@ALL
def test_weights_sum_to_one_and_are_the_same_left_and_right(name):
    skeleton = SKELETONS[name]
    for matrix, mirror in ((skeleton.weights, exchanged(skeleton.keypoints)), (skeleton.derived, MIRROR)):
        np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-6)
        np.testing.assert_allclose(matrix[list(MIRROR)][:, mirror], matrix, atol=1e-6)


@ALL
def test_a_body_that_is_moved_and_scaled_in_the_image_has_its_joints_moved_and_scaled(name):
    keypoints, confidence = detected(name)
    joints, _ = SKELETONS[name].to_h36m(keypoints, confidence)
    moved, _ = SKELETONS[name].to_h36m(3 * keypoints + [40, -7], confidence)
    np.testing.assert_allclose(moved, 3 * joints + [40, -7], rtol=1e-4, atol=1e-2)


@ALL
def test_a_joint_is_as_sure_as_its_least_keypoint(name):
    keypoints, confidence = detected(name)
    joints, sure = SKELETONS[name].to_h36m(keypoints, confidence)
    assert joints.shape == (3, 17, 2)
    for joint, weights in enumerate(SKELETONS[name].weights):
        np.testing.assert_array_equal(sure[:, joint], confidence[:, weights != 0].min(axis=1))


@ALL
@pytest.mark.parametrize("missing", ["confidence 0", "confidence NaN", "coordinates NaN"])
def test_a_missing_keypoint_takes_with_it_the_joints_that_use_it_and_no_others(name, missing):
    keypoints, confidence = detected(name)
    whole, sure = SKELETONS[name].to_h36m(keypoints, confidence)
    gone = SKELETONS[name].keypoints.index("left_shoulder")
    if missing == "coordinates NaN":
        keypoints[1, gone, 0] = np.nan
    else:
        confidence[1, gone] = 0 if missing == "confidence 0" else np.nan
    joints, confidence = SKELETONS[name].to_h36m(keypoints, confidence)
    lost = np.zeros((3, 17), dtype=bool)
    lost[1] = SKELETONS[name].weights[:, gone] != 0
    assert lost[1, JOINTS.index("left_shoulder")]
    assert (joints[lost] == 0).all()
    assert (confidence[lost] == 0).all()
    np.testing.assert_array_equal(joints[~lost], whole[~lost])
    np.testing.assert_array_equal(confidence[~lost], sure[~lost])


def test_h36m_stays_as_it_is():
    keypoints, confidence = detected(Detector.H36M17)
    joints, sure = SKELETONS[Detector.H36M17].to_h36m(keypoints, confidence)
    np.testing.assert_allclose(joints, keypoints)
    np.testing.assert_array_equal(sure, confidence)
    np.testing.assert_array_equal(SKELETONS[Detector.H36M17].derived, np.eye(17))


def real(name):
    """Keypoints (people, K, 3) of a real file: x, y in pixels, confidence."""
    if not DETECTIONS.is_dir():
        pytest.skip(f"no real keypoints in {DETECTIONS}")
    if name is Detector.HALPE26:
        people = json.loads((DETECTIONS / "alphapose_halpe26" / "alphapose-results.json").read_text())
        return np.array([person["keypoints"] for person in people]).reshape(-1, 26, 3)
    if name is Detector.COCO17:
        frames = json.loads((DETECTIONS / "hrnet_coco17" / "baseball.json").read_text())["data"]
        people = [person for frame in frames for person in frame["skeleton"]]
        return np.concatenate([[person["pose"] for person in people], [person["score"] for person in people]], axis=2)
    if name is Detector.BODY25B:
        files = sorted((DETECTIONS / "openpose_body25b").glob("*/*.json"))
        people = [person for file in files for person in json.loads(file.read_text())["people"]]
        return np.array([person["pose_keypoints_2d"] for person in people]).reshape(-1, 25, 3)
    return np.load(DETECTIONS / "hrnet_h36m" / "sample_video_keypoints.npz")["reconstruction"][0]


def bone_shares(joints, confidence):
    """Length in the image of each bone, the median over sure people, as a share of all bones' lengths: (16,)."""
    sure = joints[(confidence > 0.3).all(axis=1)]
    parents, children = np.transpose(BONES)
    lengths = np.median(np.linalg.norm(sure[:, children] - sure[:, parents], axis=-1), axis=0)
    return lengths / lengths.sum()


@pytest.mark.parametrize("name", [Detector.HALPE26, Detector.COCO17, Detector.BODY25B])
def test_real_people_stand_upright_and_have_the_proportions_of_h36m(name):
    people = real(name)
    joints, confidence = SKELETONS[name].to_h36m(people[..., :2], people[..., 2])
    sure = joints[(confidence > 0.3).all(axis=1)]
    assert len(sure) > 20
    heights = np.median(sure[..., 1], axis=0)  # y goes down
    order = [HEAD, NOSE, THORAX, SPINE, PELVIS, JOINTS.index("left_knee"), JOINTS.index("left_ankle")]
    assert (np.diff(heights[order]) > 0).all()
    reference = real(Detector.H36M17)
    expected = bone_shares(reference[..., :2], reference[..., 2])
    # cameras and movements differ, so a bone may look half as long again; one derived from a wrong keypoint looks more
    np.testing.assert_allclose(bone_shares(joints, confidence), expected, atol=0.045)
