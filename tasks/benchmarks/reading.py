"""Read and check the values of untrusted benchmark files, and make clips of them; nothing is unpickled."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data_contracts.benchmarks.clips import MOST_FRAMES
from data_contracts.detector_skeletons import SKELETONS, Detector
from data_contracts.errors import InputError
from data_contracts.parameters import KeypointsParameters
from tasks.ingest.reading import read_motion_file
from tasks.lifting.tracks import fill

Shape = tuple[int | None, ...]  # None: any length


class Intrinsics(NamedTuple):
    """Focal lengths and principal point in pixels; lens distortion is not corrected."""

    fx: float
    fy: float
    cx: float
    cy: float


class View(NamedTuple):
    """2D keypoints of a detector, `points` (frames, K, 2) in pixels and `confidence` (frames, K), and the camera."""

    detector: Detector
    points: np.ndarray
    confidence: np.ndarray
    camera: Intrinsics


def read_tree(path: Path) -> dict[Any, Any]:
    """Return the dict in a pickle, or the members of an .npz by name; arrays of numbers are float32.

    Raises
    ------
    InputError
        The file is damaged, contains other objects than arrays and plain containers, or no dict.
    """
    tree = read_motion_file(path, lambda array: array.astype(np.float32))
    if not isinstance(tree, dict):
        raise InputError(f"{path}: contains a {type(tree).__name__}; expected a dict or an .npz with named arrays")
    return tree


def entry(tree: object, key: object, where: str) -> Any:
    """Return the entry of a dict in a file; raise an InputError if there is none."""
    if not isinstance(tree, dict) or key not in tree:
        raise InputError(f"{where}: has no entry {key}; pass the unchanged file of the benchmark")
    return tree[key]


def entries(tree: object, key: object, where: str) -> Iterator[tuple[str, Any]]:
    """Yield names and values of the dict `tree[key]`; raise an InputError if it is not a dict with text as keys."""
    inner = entry(tree, key, where)
    if not isinstance(inner, dict) or not inner or not all(isinstance(name, str) for name in inner):
        raise InputError(f"{where}: {key} is a {type(inner).__name__}; expected a dict with text as keys")
    yield from inner.items()


def parts(value: object, where: str) -> list[Any]:
    """Return the items of a list or tuple, or along the first axis of an array; raise an InputError otherwise."""
    if isinstance(value, np.ndarray) and value.ndim:
        value = list(value)
    if not isinstance(value, list | tuple):
        raise InputError(f"{where}: is a {type(value).__name__}; expected a list of arrays")
    return list(value)


def numbers(value: object, shape: Shape, where: str) -> np.ndarray:
    """Return `value` as float32 if it is an array of numbers of this shape; raise an InputError otherwise."""
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "biuf":
        raise InputError(f"{where}: is {getattr(value, 'dtype', type(value).__name__)}; expected an array of numbers")
    fits = len(value.shape) == len(shape) and all(
        want in (None, length) for want, length in zip(shape, value.shape, strict=True)
    )
    if not fits or len(value) > MOST_FRAMES:
        expected = ", ".join("frames" if want is None else str(want) for want in shape)
        raise InputError(f"{where}: shape {value.shape}; expected ({expected}), at most {MOST_FRAMES:,} frames")
    return value.astype(np.float32, copy=False)


def keypoints_of(view: View, options: KeypointsParameters) -> np.ndarray:
    """Return rays and confidences of the H36M joints (frames, 17, 3), gaps up to `options.max_gap` interpolated.

    Keypoints with a confidence below `options.min_confidence` or without finite coordinates are missing.
    """
    confidence = np.where(view.confidence >= options.min_confidence, np.minimum(view.confidence, 1), 0)
    joints, least = SKELETONS[view.detector].to_h36m(view.points, confidence)
    filled, _ = fill(np.arange(len(joints)), np.concatenate([joints, least[..., None]], axis=-1), options.max_gap)
    fx, fy, *centre = view.camera
    rays = (filled[..., :2] - np.array(centre)) / (fx, fy)
    return np.concatenate([np.where(filled[..., 2:] > 0, rays, 0), filled[..., 2:]], axis=-1).astype(np.float32)
