"""Read JSON with a list of frames: MMPose's predictions, and skeletons of ST-GCN's Kinetics and GAST-Net.

- MMPose 1.x: `[{"frame_id": 0, "instances": [{"keypoints": [[x, y], ...], "keypoint_scores": [...]}]}]`, or the same
  list under `instance_info` next to `meta_info`, or the instances of one image (mmpose/apis/inferencers,
  demo/topdown_demo_with_mmdet.py). `track_id` is used if all instances have it.
- Skeletons: `{"data": [{"frame_index": 1, "skeleton": [{"pose": [[x, y], ...], "score": [[s], ...]}]}]}`; `pose` and
  `score` may be flat lists.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_contracts.detector_skeletons import SKELETONS, Detector
from data_contracts.errors import InputError
from data_contracts.parameters import KeypointFormat
from tasks.lifting.formats.detections import Detections
from tasks.lifting.formats.fields import as_rows


@dataclass(frozen=True)
class _Fields:
    """Names of the fields of a format: frame number, people, keypoints and confidences."""

    frame: str
    people: str
    points: str
    scores: str


_MMPOSE = _Fields("frame_id", "instances", "keypoints", "keypoint_scores")
_SKELETONS = _Fields("frame_index", "skeleton", "pose", "score")


def is_mmpose(tree: object) -> bool:
    """Return whether the JSON is MMPose's, detected from the first frame, or from the first person of one image."""
    frames = _mmpose_frames(tree)
    return bool(frames) and isinstance(frames[0], dict) and isinstance(frames[0].get("instances"), list)


def is_skeletons(tree: object) -> bool:
    """Return whether the JSON contains skeletons, detected from the first frame."""
    frames = tree.get("data") if isinstance(tree, dict) else None
    return isinstance(frames, list) and bool(frames) and isinstance(frames[0], dict) and "skeleton" in frames[0]


def read_mmpose(path: Path, tree: object) -> list[Detections]:
    """Return the people of all frames of MMPose's predictions."""
    meta = tree.get("meta_info") if isinstance(tree, dict) else None
    return [_read(path, KeypointFormat.MMPOSE, _mmpose_frames(tree), _MMPOSE, _named_skeleton(meta))]


def read_skeletons(path: Path, tree: object) -> list[Detections]:
    """Return the people of all frames of skeletons in `data`."""
    frames = tree.get("data") if isinstance(tree, dict) else None
    return [_read(path, KeypointFormat.SKELETONS, frames, _SKELETONS, None)]


def _mmpose_frames(tree: object) -> list[Any]:
    if isinstance(tree, dict):
        tree = tree.get("instance_info")
    if not isinstance(tree, list):
        return []
    if tree and isinstance(tree[0], dict) and "keypoint_scores" in tree[0]:  # instances of one image
        return [{"frame_id": 0, "instances": tree}]
    return tree


def _read(
    path: Path, format: KeypointFormat, frames: list[Any] | None, fields: _Fields, skeleton: Detector | None
) -> Detections:
    people: list[Any] = []
    numbers: list[int] = []
    seen: set[int] = set()
    if not frames:
        raise InputError(f"{path}: expected a list of frames, as {format} writes it")
    for place, frame in enumerate(frames):
        if not isinstance(frame, dict) or not isinstance(frame.get(fields.people), list):
            raise InputError(f"{path}: entry {place} of the frames: expected a list of {fields.people}")
        number = frame.get(fields.frame, place)
        if type(number) is not int:
            raise InputError(f"{path}: entry {place} of the frames: {fields.frame}: expected an integer")
        if number in seen:
            raise InputError(f"{path}: frame {number}: occurs twice in the list of frames")
        seen.add(number)
        for person in frame[fields.people]:
            if not isinstance(person, dict) or fields.points not in person or fields.scores not in person:
                raise InputError(
                    f"{path}: frame {number}: {fields.people}: an entry without {fields.points} and {fields.scores}"
                )
        people += frame[fields.people]
        numbers += [number] * len(frame[fields.people])
    if not people:
        raise InputError(f"{path}: contains no people: no frame has a person")
    points = as_rows([person[fields.points] for person in people], str(path), numbers, fields.points)
    scores = as_rows([person[fields.scores] for person in people], str(path), numbers, fields.scores)
    points = points.reshape(len(points), -1, 2) if points.ndim == 2 and points.shape[1] % 2 == 0 else points
    scores = scores.reshape(len(scores), -1)
    if points.ndim != 3 or points.shape[2] not in (2, 3) or scores.shape != points.shape[:2]:
        shapes = f"{'x'.join(map(str, points.shape[1:]))} and {'x'.join(map(str, scores.shape[1:]))}"
        raise InputError(
            f"{path}: {fields.points} and {fields.scores}: {shapes} numbers per person, expected K x 2 and K"
        )
    ids = [person.get("track_id") for person in people]
    person = np.array(ids, dtype=np.int64) if all(type(id_) is int and 0 <= id_ < 2**53 for id_ in ids) else None
    frame = np.array([max(-1, min(number, 2**60)) for number in numbers], dtype=np.int64)
    return Detections(str(path), format, frame, points[..., :2], scores, person, skeleton)


def _named_skeleton(meta: object) -> Detector | None:
    """Return the skeleton whose keypoint names, in order, equal MMPose's `keypoint_id2name`."""
    names = meta.get("keypoint_id2name") if isinstance(meta, dict) else None
    if not isinstance(names, Mapping):
        return None
    keypoints = tuple(str(name) for name in names.values())
    return next((name for name, skeleton in SKELETONS.items() if skeleton.keypoints == keypoints), None)
