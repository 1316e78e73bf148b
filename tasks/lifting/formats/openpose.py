"""OpenPose's folders: a JSON for each frame, `{"people": [{"person_id": [-1], "pose_keypoints_2d": [x, y, c, ...]}]}`.

A frame's number is the last one in its file's name. 25 keypoints are BODY_25 or BODY_25B: which makes a body tells.
OpenPose, doc/02_output.md.

AlphaPose's `--format open` writes such frames in the folder `sep-json`, and all of them as one dict by the names of
their images; `--format cmu` the same as `{"bodies": [{"joints": [x, y, c, ...]}]}` (alphapose/utils/pPose_nms.py,
`write_json`). Their 18 keypoints are COCO's 17 and a neck that AlphaPose makes. It is left out: of COCO's 17 it is the
middle of the shoulders, which is derived here too; of Halpe-26 and whole bodies it is the top of the head or a toe,
because AlphaPose looks for it in the place that it has behind 17 keypoints.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data_contracts.detector_skeletons import SKELETONS, Detector
from data_contracts.errors import InputError
from data_contracts.parameters import KeypointFormat
from tasks.lifting.formats.detections import Detections, as_rows
from tasks.lifting.formats.image_numbers import number_images
from tasks.lifting.formats.json_text import read_jsons

_FIELDS = {"people": "pose_keypoints_2d", "bodies": "joints"}
_COCO18, _COCO17 = (SKELETONS[name].keypoints for name in (Detector.COCO18, Detector.COCO17))
_WITHOUT_NECK = [_COCO18.index(name) for name in _COCO17]


class _Frame(NamedTuple):
    """A frame: the name that numbers it, what errors call it, and what is in it."""

    name: str
    source: str
    tree: Any


def is_frame(tree: object) -> bool:
    """Told by its one list; a frame may have nobody."""
    return isinstance(tree, dict) and any(isinstance(tree.get(name), list) for name in _FIELDS)


def is_openpose(tree: object) -> bool:
    """A frame that is not AlphaPose's alone."""
    return is_frame(tree) and isinstance(tree, dict) and "people" in tree


def is_by_image(tree: object) -> bool:
    """Frames by the names of their images, told by the first."""
    return isinstance(tree, dict) and not is_frame(tree) and is_frame(next(iter(tree.values()), None))


def read_openpose(
    path: Path, files: Sequence[Path], format: KeypointFormat = KeypointFormat.OPENPOSE
) -> list[Detections]:
    """The people of all frames of a folder, or of the one that a file is; AlphaPose's if it is said, or says so."""
    trees = read_jsons(files, path)
    return _read(path, [_Frame(file.name, str(file), tree) for file, tree in zip(files, trees, strict=True)], format)


def read_by_image(path: Path, images: Mapping[str, object]) -> list[Detections]:
    """The people of all images of AlphaPose's dict."""
    frames = [_Frame(name, f"{path}: image {name[:60]!a}", tree) for name, tree in images.items()]
    return _read(path, frames, KeypointFormat.ALPHAPOSE)


def _read(path: Path, given: Sequence[_Frame], format: KeypointFormat) -> list[Detections]:
    numbers = number_images(path, [frame.name for frame in given])
    rows: list[object] = []
    people: list[Any] = []
    frames, names = [], []
    for (name, source, tree), number in zip(given, numbers, strict=True):
        if not is_frame(tree):
            raise InputError(f"{source}: has no list of people, as a frame of OpenPose has")
        here = next(one for one in _FIELDS if isinstance(tree.get(one), list))
        for person in tree[here]:
            if not isinstance(person, dict) or _FIELDS[here] not in person:
                raise InputError(f"{source}: {here}: one has no {_FIELDS[here]}")
            rows.append(person[_FIELDS[here]])
        if here == "bodies" or str(tree.get("version")).startswith("AlphaPose"):
            format = KeypointFormat.ALPHAPOSE
        people += tree[here]
        frames += [number] * len(tree[here])
        names += [ascii(name[:60])[1:-1]] * len(tree[here])
    if not people:
        raise InputError(f"{path}: nobody is seen in it: no frame has a person")
    values = as_rows(rows, str(path), names, "keypoints")
    if values.ndim != 2 or values.shape[1] % 3 or not values.shape[1]:
        shape = "x".join(map(str, values.shape[1:]))
        raise InputError(f"{path}: keypoints: {shape} numbers a person; x, y, confidence of each are wanted")
    triples, skeleton = values.reshape(len(values), -1, 3), None
    if format is KeypointFormat.ALPHAPOSE and triples.shape[1] == len(_COCO18):
        triples, skeleton = triples[:, _WITHOUT_NECK], Detector.COCO17
    person = _ids([person.get("person_id") for person in people])
    frame = np.array(frames, dtype=np.int64)
    return [Detections(str(path), format, frame, triples[..., :2], triples[..., 2], person, skeleton)]


def _ids(given: list[Any]) -> np.ndarray | None:
    """OpenPose's ids of people, if it tracked all of them."""
    flat = [one[0] if isinstance(one, list) and one else one for one in given]
    if not all(type(one) is int and 0 <= one < 2**53 for one in flat):
        return None
    return np.array(flat, dtype=np.int64)
