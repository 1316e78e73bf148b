"""JSON by frames: MMPose's predictions, and skeletons as ST-GCN's Kinetics and GAST-Net have them.

- MMPose 1.x: `[{"frame_id": 0, "instances": [{"keypoints": [[x, y], ...], "keypoint_scores": [...]}]}]`, the same under
  `instance_info` beside `meta_info`, or, of one image, the instances alone (mmpose/apis/inferencers,
  demo/topdown_demo_with_mmdet.py). `track_id` is read where all have it.
- skeletons: `{"data": [{"frame_index": 1, "skeleton": [{"pose": [[x, y], ...], "score": [[s], ...]}]}]}`, or both flat.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_contracts.detector_skeletons import SKELETONS, Detector
from data_contracts.errors import InputError
from data_contracts.parameters import KeypointFormat
from tasks.lifting.formats.detections import Detections, as_rows


@dataclass(frozen=True)
class _Fields:
    """What a format calls a frame's number, its people, and their keypoints and confidences."""

    frame: str
    people: str
    points: str
    scores: str


_MMPOSE = _Fields("frame_id", "instances", "keypoints", "keypoint_scores")
_SKELETONS = _Fields("frame_index", "skeleton", "pose", "score")


def is_mmpose(tree: object) -> bool:
    """Told by the first frame, or the first person where there is one frame."""
    frames = _mmpose_frames(tree)
    return bool(frames) and isinstance(frames[0], dict) and isinstance(frames[0].get("instances"), list)


def is_skeletons(tree: object) -> bool:
    """Told by the first frame."""
    frames = tree.get("data") if isinstance(tree, dict) else None
    return isinstance(frames, list) and bool(frames) and isinstance(frames[0], dict) and "skeleton" in frames[0]


def read_mmpose(path: Path, tree: object) -> list[Detections]:
    """The people of all frames."""
    meta = tree.get("meta_info") if isinstance(tree, dict) else None
    return [_read(path, KeypointFormat.MMPOSE, _mmpose_frames(tree), _MMPOSE, _named_skeleton(meta))]


def read_skeletons(path: Path, tree: object) -> list[Detections]:
    """The people of all frames."""
    frames = tree.get("data") if isinstance(tree, dict) else None
    return [_read(path, KeypointFormat.SKELETONS, frames, _SKELETONS, None)]


def _mmpose_frames(tree: object) -> list[Any]:
    if isinstance(tree, dict):
        tree = tree.get("instance_info")
    if not isinstance(tree, list):
        return []
    if tree and isinstance(tree[0], dict) and "keypoint_scores" in tree[0]:  # of one image
        return [{"frame_id": 0, "instances": tree}]
    return tree


def _read(
    path: Path, format: KeypointFormat, frames: list[Any] | None, fields: _Fields, skeleton: Detector | None
) -> Detections:
    people: list[Any] = []
    numbers: list[int] = []
    seen: set[int] = set()
    if not frames:
        raise InputError(f"{path}: has no list of frames, as {format} writes it")
    for place, frame in enumerate(frames):
        if not isinstance(frame, dict) or not isinstance(frame.get(fields.people), list):
            raise InputError(f"{path}: frame {place} of the list: has no list of {fields.people}")
        number = frame.get(fields.frame, place)
        if type(number) is not int:
            raise InputError(f"{path}: frame {place} of the list: {fields.frame}: is no integer")
        if number in seen:
            raise InputError(f"{path}: frame {number}: stands twice in the list of frames")
        seen.add(number)
        for person in frame[fields.people]:
            if not isinstance(person, dict) or fields.points not in person or fields.scores not in person:
                raise InputError(
                    f"{path}: frame {number}: {fields.people}: one has no {fields.points}, {fields.scores}"
                )
        people += frame[fields.people]
        numbers += [number] * len(frame[fields.people])
    if not people:
        raise InputError(f"{path}: nobody is seen in it: no frame has a person")
    points = as_rows([person[fields.points] for person in people], str(path), numbers, fields.points)
    scores = as_rows([person[fields.scores] for person in people], str(path), numbers, fields.scores)
    points = points.reshape(len(points), -1, 2) if points.ndim == 2 and points.shape[1] % 2 == 0 else points
    scores = scores.reshape(len(scores), -1)
    if points.ndim != 3 or points.shape[2] not in (2, 3) or scores.shape != points.shape[:2]:
        shapes = f"{'x'.join(map(str, points.shape[1:]))} and {'x'.join(map(str, scores.shape[1:]))}"
        raise InputError(
            f"{path}: {fields.points} and {fields.scores}: {shapes} numbers a person; K x 2 and K are wanted"
        )
    ids = [person.get("track_id") for person in people]
    person = np.array(ids, dtype=np.int64) if all(type(one) is int and 0 <= one < 2**53 for one in ids) else None
    frame = np.array([max(-1, min(number, 2**60)) for number in numbers], dtype=np.int64)
    return Detections(str(path), format, frame, points[..., :2], scores, person, skeleton)


def _named_skeleton(meta: object) -> Detector | None:
    """The skeleton whose keypoints MMPose's own names are, in order."""
    names = meta.get("keypoint_id2name") if isinstance(meta, dict) else None
    if not isinstance(names, Mapping):
        return None
    given = tuple(str(name) for name in names.values())
    return next((name for name, skeleton in SKELETONS.items() if skeleton.keypoints == given), None)
