"""Test data: a walking person, written in each keypoint format, or read from the files of `tests/data/cases`."""

import json
from pathlib import Path

import numpy as np

from data_contracts.detector_skeletons import PLACES, SKELETONS, Detector
from data_contracts.parameters import KeypointsParameters
from data_contracts.skeleton import JOINTS
from data_contracts.sources import find_keypoints
from tasks.lifting.formats.folders import find_keypoint_files
from tasks.lifting.formats.reading import read_keypoints
from tasks.lifting.tracks import tracks_of

CASES = Path(__file__).parents[3] / "data" / "cases"
FRAMES = 12
COCO = CASES / "coco_annotations_refused" / "person_keypoints_default.json"

STANDING = np.array(
    [
        *((0, 0), (-13, 2), (-14, 45), (-15, 90), (13, 2), (14, 45), (15, 90), (0, -25), (0, -50), (2, -60), (0, -72)),
        *((17, -48), (22, -20), (24, 6), (-17, -48), (-22, -20), (-24, 6)),
    ],
    dtype=float,
)  # (17, 2): an upright body seen from the front, y down


def body(frames=12, at=(300.0, 400.0), step=2.0):
    """Return H36M joints (frames, 17, 2) in pixels."""
    moved = np.array(at) + np.arange(frames)[:, None] * (step, 0)
    return STANDING + moved[:, None]


def seen_by(name, h36m):
    """Return keypoints (frames, K, 2) of a skeleton from H36M joints; unused keypoints are at the nose."""
    skeleton = SKELETONS[name]
    places = {**PLACES, **skeleton.places, **{joint: {joint: 1.0} for joint in JOINTS if name is Detector.H36M17}}
    weights = [places.get(keypoint, {"nose": 1.0}) for keypoint in skeleton.keypoints]
    matrix = np.array([[row.get(joint, 0.0) for joint in JOINTS] for row in weights])
    return matrix @ h36m


def triples(points, confidence=0.9):
    """Return points with a constant confidence: (frames, K, 3)."""
    return np.concatenate([points, np.full((*points.shape[:-1], 1), confidence)], axis=-1)


def alphapose(values, people=None, names="{}.jpg"):
    """Return AlphaPose's list of one or several arrays (frames, K, 3); `people` are their idx."""
    values = values if isinstance(values, list) else [values]
    return [
        {
            "image_id": names.format(frame),
            "category_id": 1,
            "keypoints": row.ravel().tolist(),
            "score": 2.5,
            **({} if people is None else {"idx": people[index]}),
        }
        for frame in range(len(values[0]))
        for index, row in enumerate(person[frame] for person in values)
    ]


def openpose(folder, values):
    """Write one OpenPose JSON per frame of one or several arrays (frames, K, 3)."""
    folder.mkdir(exist_ok=True)
    values = values if isinstance(values, list) else [values]
    for frame in range(len(values[0])):
        people = [{"person_id": [-1], "pose_keypoints_2d": person[frame].ravel().tolist()} for person in values]
        (folder / f"v2_{frame:012d}_keypoints.json").write_text(json.dumps({"version": 1.3, "people": people}))
    return folder


def mmpose(values):
    """Return MMPose's frames with instances."""
    return [
        {"frame_id": frame, "instances": [{"keypoints": row[:, :2].tolist(), "keypoint_scores": row[:, 2].tolist()}]}
        for frame, row in enumerate(values)
    ]


def mediapipe(values, width=640, height=480):
    """Return frames with landmarks, as shares of the image."""
    return [
        {
            "frame": frame,
            "landmarks": [{"x": x / width, "y": y / height, "z": -0.1, "visibility": v} for x, y, v in row.tolist()],
        }
        for frame, row in enumerate(values)
    ]


def alphapose_by_image(values, people="people", shoulders=(6, 5)):
    """Return AlphaPose's `--format open` (or `cmu` with `people="bodies"`) of (frames, K, 3): 18 keypoints by image.

    As its `write_json` does, which takes for the neck what stands in the 18th place: of COCO's 17 the middle of the
    shoulders that it has put there.
    """
    order = (0, 17, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3)
    field = {"people": "pose_keypoints_2d", "bodies": "joints"}[people]
    images = {}
    for frame, row in enumerate(values):
        joints = np.concatenate([row, row[list(shoulders)].mean(axis=0, keepdims=True)])[list(order)]
        images[f"{frame}.jpg"] = {"version": "AlphaPose v0.3", people: [{field: joints.ravel().tolist()}]}
    return images


def read(path, **parameters):
    """Return the detections and warnings of a file with one video of one person in consecutive frames."""
    assert find_keypoint_files(path) is None
    (found,), warnings = read_keypoints(find_keypoints(path), KeypointsParameters(**parameters))
    (track,) = tracks_of(found, 0)
    assert len(track.pose_2d) == FRAMES
    return found, warnings


def walker():
    """Return the 17 keypoints (frames, 17, 2) of the person, in pixels."""
    annotations = json.loads(COCO.read_text())["annotations"]
    return np.array([entry["keypoints"] for entry in annotations]).reshape(FRAMES, 17, 3)[..., :2]
