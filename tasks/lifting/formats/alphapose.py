"""AlphaPose's results, and COCO's: a list with an entry for each person of each image.

`{"image_id": "12.jpg", "category_id": 1, "keypoints": [x, y, score, ...], "score": ..., "idx": 3}`, of 17, 26 or 136
keypoints (AlphaPose, docs/output.md; COCO, results of keypoints). `idx` is a number, or a list of it. AlphaPose's
`--format open` and `cmu` write a dict instead, frames of people by the names of their images: `openpose.py` reads them.
"""

from pathlib import Path

import numpy as np

from data_contracts.errors import InputError
from data_contracts.parameters import KeypointFormat
from tasks.lifting.formats.detections import Detections, as_rows
from tasks.lifting.formats.image_numbers import number_images
from tasks.lifting.formats.openpose import is_by_image, is_frame, read_by_image


def is_alphapose(tree: object) -> bool:
    """Told by the first entry."""
    if isinstance(tree, dict):
        return is_by_image(tree) or ("bodies" in tree and is_frame(tree))
    return (
        isinstance(tree, list) and bool(tree) and isinstance(tree[0], dict) and {"image_id", "keypoints"} <= {*tree[0]}
    )


def read_alphapose(path: Path, tree: object) -> list[Detections]:
    """The people of all images; an image's number is the last one in its name."""
    if isinstance(tree, dict):
        return read_by_image(path, {path.name: tree} if is_frame(tree) else tree)
    if not isinstance(tree, list):
        raise InputError(f"{path}: is no list of entries, as AlphaPose's results are")
    for place, entry in enumerate(tree):
        if not isinstance(entry, dict) or "keypoints" not in entry or "image_id" not in entry:
            raise InputError(f"{path}: entry {place}: has no image_id and keypoints")
    images = [entry["image_id"] for entry in tree]
    rows = as_rows([entry["keypoints"] for entry in tree], str(path), images, "keypoints")
    if rows.ndim != 2 or rows.shape[1] % 3 or not rows.shape[1]:
        shape = "x".join(map(str, rows.shape[1:]))
        raise InputError(f"{path}: keypoints: {shape} numbers an entry; x, y, score of each keypoint are wanted")
    triples = rows.reshape(len(rows), -1, 3)
    return [
        Detections(
            *(str(path), KeypointFormat.ALPHAPOSE, number_images(path, images), triples[..., :2], triples[..., 2]),
            person=_people(path, tree),
        )
    ]


def _people(path: Path, tree: list[dict[str, object]]) -> np.ndarray | None:
    ids = [entry.get("idx") for entry in tree]
    if all(one is None for one in ids):
        return None
    for place, one in enumerate(ids):
        while isinstance(one, list) and one:
            one = one[0]
        if isinstance(one, bool) or not isinstance(one, int | float) or not 0 <= one <= 2**53 or one != int(one):
            raise InputError(f"{path}: frame {str(tree[place]['image_id'])[:60]!a}: idx: is no number of a person")
        ids[place] = int(one)
    return np.array(ids, dtype=np.int64)
