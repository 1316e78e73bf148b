"""OpenPose's folders: a JSON for each frame, `{"people": [{"person_id": [-1], "pose_keypoints_2d": [x, y, c, ...]}]}`.

A frame's number is the last one in its file's name. 25 keypoints are BODY_25 or BODY_25B: which makes a body tells.
OpenPose, doc/02_output.md.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data_contracts.errors import InputError
from data_contracts.parameters import KeypointFormat
from tasks.keypoint_files.alphapose import number_images
from tasks.keypoint_files.detections import Detections, as_rows
from tasks.keypoint_files.json_text import MOST_BYTES, read_json

_FIELD = "pose_keypoints_2d"


def is_openpose(tree: object) -> bool:
    """Told by its one list; a frame may have nobody."""
    return isinstance(tree, dict) and isinstance(tree.get("people"), list)


def read_openpose(path: Path, files: Sequence[Path]) -> list[Detections]:
    """The people of all frames of a folder, or of the one that a file is."""
    if sum(file.stat().st_size for file in files) > MOST_BYTES:
        raise InputError(f"{path}: its frames have more than {MOST_BYTES >> 20} MiB; cut it into parts")
    numbers = number_images(path, [file.name for file in files])
    people: list[Any] = []
    frames, names = [], []
    for file, number in zip(files, numbers, strict=True):
        tree = read_json(file)
        if not is_openpose(tree):
            raise InputError(f"{file}: has no list of people, as a frame of OpenPose has")
        for person in tree["people"]:
            if not isinstance(person, dict) or _FIELD not in person:
                raise InputError(f"{file}: people: one has no {_FIELD}")
        people += tree["people"]
        frames += [number] * len(tree["people"])
        names += [file.name] * len(tree["people"])
    if not people:
        raise InputError(f"{path}: nobody is seen in it: no frame has a person")
    rows = as_rows([person[_FIELD] for person in people], str(path), names, _FIELD)
    if rows.ndim != 2 or rows.shape[1] % 3 or not rows.shape[1]:
        raise InputError(f"{path}: {_FIELD}: {rows.shape[1]} numbers a person; x, y, confidence of each are wanted")
    triples = rows.reshape(len(rows), -1, 3)
    person = _ids([person.get("person_id") for person in people])
    frame = np.array(frames, dtype=np.int64)
    return [Detections(str(path), KeypointFormat.OPENPOSE, frame, triples[..., :2], triples[..., 2], person=person)]


def _ids(given: list[Any]) -> np.ndarray | None:
    """OpenPose's ids of people, if it tracked all of them."""
    flat = [one[0] if isinstance(one, list) and one else one for one in given]
    if not all(type(one) is int and 0 <= one < 2**53 for one in flat):
        return None
    return np.array(flat, dtype=np.int64)
