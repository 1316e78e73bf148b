"""Read the results of AlphaPose and COCO: a list with one entry per person and image.

- An entry is `{"image_id": "12.jpg", "category_id": 1, "keypoints": [x, y, score, ...], "score": ..., "idx": 3}` with
  17, 26 or 136 keypoints (AlphaPose, docs/output.md; COCO, keypoint results). `idx` is a number or a list with one.
- AlphaPose's `--format open` and `--format cmu` write a dict of frames by image name, which `openpose.py` reads.
"""

from pathlib import Path

import numpy as np

from data_contracts.errors import InputError
from data_contracts.parameters import KeypointFormat
from tasks.lifting.formats.detections import Detections
from tasks.lifting.formats.fields import as_rows
from tasks.lifting.formats.image_numbers import number_images
from tasks.lifting.formats.openpose import is_by_image, is_frame, read_by_image


def is_alphapose(tree: object) -> bool:
    """Return whether the JSON is AlphaPose's or COCO's, detected from the first entry."""
    if isinstance(tree, dict):
        return is_by_image(tree) or ("bodies" in tree and is_frame(tree))
    return (
        isinstance(tree, list) and bool(tree) and isinstance(tree[0], dict) and {"image_id", "keypoints"} <= {*tree[0]}
    )


def read_alphapose(path: Path, tree: object) -> list[Detections]:
    """Return the people of all images; the number of an image is the last number in its name."""
    if isinstance(tree, dict):
        return read_by_image(path, {path.name: tree} if is_frame(tree) else tree)
    if not isinstance(tree, list):
        raise InputError(f"{path}: expected a list of entries, as in AlphaPose's results")
    for place, entry in enumerate(tree):
        if not isinstance(entry, dict) or "keypoints" not in entry or "image_id" not in entry:
            raise InputError(f"{path}: entry {place}: expected image_id and keypoints")
    images = [entry["image_id"] for entry in tree]
    rows = as_rows([entry["keypoints"] for entry in tree], str(path), images, "keypoints")
    if rows.ndim != 2 or rows.shape[1] % 3 or not rows.shape[1]:
        shape = "x".join(map(str, rows.shape[1:]))
        raise InputError(f"{path}: keypoints: {shape} numbers per entry, expected x, y, score of each keypoint")
    triples = rows.reshape(len(rows), -1, 3)
    return [
        Detections(
            *(str(path), KeypointFormat.ALPHAPOSE, number_images(path, images), triples[..., :2], triples[..., 2]),
            person=_people(path, tree),
        )
    ]


def _people(path: Path, tree: list[dict[str, object]]) -> np.ndarray | None:
    ids = [entry.get("idx") for entry in tree]
    if all(idx is None for idx in ids):
        return None
    for place, idx in enumerate(ids):
        while isinstance(idx, list) and idx:
            idx = idx[0]
        if isinstance(idx, bool) or not isinstance(idx, int | float) or not 0 <= idx <= 2**53 or idx != int(idx):
            image = str(tree[place]["image_id"])[:60]
            raise InputError(f"{path}: frame {image!a}: idx: expected the number of a person (an integer from 0)")
        ids[place] = int(idx)
    return np.array(ids, dtype=np.int64)
