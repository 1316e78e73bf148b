"""Read OpenPose's folders: one JSON per frame, `{"people": [{"pose_keypoints_2d": [x, y, c, ...]}]}`.

- The number of a frame is the last number in its file name (OpenPose, doc/02_output.md). 25 keypoints are BODY_25 or
  BODY_25B, detected from body proportions.
- AlphaPose's `--format open` writes such frames in the folder `sep-json`, and one dict of all frames by image name.
  `--format cmu` writes the same as `{"bodies": [{"joints": [x, y, c, ...]}]}` (alphapose/utils/pPose_nms.py,
  `write_json`).
- AlphaPose's 18 keypoints are COCO's 17 and a computed neck, which is dropped. For COCO's 17 the neck is the middle of
  the shoulders, which this project derives as well. For Halpe-26 and whole bodies AlphaPose takes the neck from a wrong
  index: it is the top of the head or a toe.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data_contracts.detector_skeletons import SKELETONS, Detector
from data_contracts.errors import InputError
from data_contracts.parameters import KeypointFormat
from tasks.lifting.formats.detections import Detections
from tasks.lifting.formats.fields import as_rows
from tasks.lifting.formats.image_numbers import number_images
from tasks.lifting.formats.json_text import read_jsons

_FIELDS = {"people": "pose_keypoints_2d", "bodies": "joints"}
_COCO18, _COCO17 = (SKELETONS[name].keypoints for name in (Detector.COCO18, Detector.COCO17))
_WITHOUT_NECK = [_COCO18.index(name) for name in _COCO17]


class _Frame(NamedTuple):
    """A frame: the name that contains its number, its name in errors, and its JSON."""

    name: str
    source: str
    tree: Any


def is_frame(tree: object) -> bool:
    """Return whether the JSON is one frame, detected from its list of people, which may be empty."""
    return isinstance(tree, dict) and any(isinstance(tree.get(name), list) for name in _FIELDS)


def is_openpose(tree: object) -> bool:
    """Return whether the JSON is a frame in OpenPose's format."""
    return is_frame(tree) and isinstance(tree, dict) and "people" in tree


def is_by_image(tree: object) -> bool:
    """Return whether the JSON is a dict of frames by image name, detected from the first entry."""
    return isinstance(tree, dict) and not is_frame(tree) and is_frame(next(iter(tree.values()), None))


def read_openpose(
    path: Path, files: Sequence[Path], format: KeypointFormat = KeypointFormat.OPENPOSE
) -> list[Detections]:
    """Return the people of all frames of a folder or of one file.

    The format is AlphaPose's if `format` or the version in the JSON is AlphaPose's.
    """
    trees = read_jsons(files, path)
    return _read(path, [_Frame(file.name, str(file), tree) for file, tree in zip(files, trees, strict=True)], format)


def read_by_image(path: Path, images: Mapping[str, object]) -> list[Detections]:
    """Return the people of all images of AlphaPose's dict."""
    frames = [_Frame(name, f"{path}: image {name[:60]!a}", tree) for name, tree in images.items()]
    return _read(path, frames, KeypointFormat.ALPHAPOSE)


def _read(path: Path, inputs: Sequence[_Frame], format: KeypointFormat) -> list[Detections]:
    numbers = number_images(path, [frame.name for frame in inputs])
    rows: list[object] = []
    people: list[Any] = []
    frames, names = [], []
    for (name, source, tree), number in zip(inputs, numbers, strict=True):
        if not is_frame(tree):
            raise InputError(f"{source}: expected a list of people, as in OpenPose's frames")
        field = next(name for name in _FIELDS if isinstance(tree.get(name), list))
        for person in tree[field]:
            if not isinstance(person, dict) or _FIELDS[field] not in person:
                raise InputError(f"{source}: {field}: an entry without {_FIELDS[field]}")
            rows.append(person[_FIELDS[field]])
        if field == "bodies" or str(tree.get("version")).startswith("AlphaPose"):
            format = KeypointFormat.ALPHAPOSE
        people += tree[field]
        frames += [number] * len(tree[field])
        names += [ascii(name[:60])[1:-1]] * len(tree[field])
    if not people:
        raise InputError(f"{path}: contains no people: no frame has a person")
    values = as_rows(rows, str(path), names, "keypoints")
    if values.ndim != 2 or values.shape[1] % 3 or not values.shape[1]:
        shape = "x".join(map(str, values.shape[1:]))
        raise InputError(f"{path}: keypoints: {shape} numbers per person, expected x, y, confidence of each keypoint")
    triples, skeleton = values.reshape(len(values), -1, 3), None
    if format is KeypointFormat.ALPHAPOSE and triples.shape[1] == len(_COCO18):
        triples, skeleton = triples[:, _WITHOUT_NECK], Detector.COCO17
    person = _ids([person.get("person_id") for person in people])
    frame = np.array(frames, dtype=np.int64)
    return [Detections(str(path), format, frame, triples[..., :2], triples[..., 2], person, skeleton)]


def _ids(values: list[Any]) -> np.ndarray | None:
    """Return OpenPose's ids of people, or None if it did not track all of them."""
    ids = [value[0] if isinstance(value, list) and value else value for value in values]
    if not all(type(id_) is int and 0 <= id_ < 2**53 for id_ in ids):
        return None
    return np.array(ids, dtype=np.int64)
