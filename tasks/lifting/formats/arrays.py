"""Keypoints in .npy and .npz, read as motion files are: nothing is unpickled, and what is made is paid for by the size.

- VideoPose3D's custom 2D: `positions_2d`, a dict of videos, of actions, of cameras' (frames, K, 2) arrays, and
  `metadata` with `layout_name` and `video_metadata` (data/prepare_data_2d_custom.py). Each is a video of its own.
- plain: one array (frames, K, C), or (people, frames, K, C) as MMAction2 and PoseMamba have it, or
  (frames, people, K, C) where there are more of the first than of the second. C is x, y; x, y, confidence; or
  MediaPipe's x, y, z, visibility. A second array of that shape less its last axis is the confidences. `skeleton`,
  `fps`, `width`, `height` where known.

Missing is NaN, or, where there are no confidences, 0, 0.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from data_contracts.detector_skeletons import SKELETONS, Detector
from data_contracts.errors import InputError, some
from data_contracts.parameters import KeypointFormat
from tasks.ingest.reading import read_motion_file
from tasks.lifting.formats.detections import Detections, known_number

_MOST_BYTES = 512 * 2**20  # of all arrays: 12 hours of COCO-17 at 30 fps; reading takes 5 to 10 times as much
_COUNTS = {133, *(len(skeleton.keypoints) for skeleton in SKELETONS.values())}
_LAYOUTS = {"coco": Detector.COCO17, "h36m": Detector.H36M17}  # VideoPose3D's names


def read_arrays(path: Path) -> dict[str, Any]:
    """The arrays of a file by their names; that of an .npy has none."""
    left = _MOST_BYTES

    def keep(array: np.ndarray) -> np.ndarray:
        nonlocal left
        left -= array.nbytes
        if left < 0:
            raise InputError(f"{path}: its arrays take more than {_MOST_BYTES >> 20} MiB; cut it into parts")
        return array

    tree = read_motion_file(path, keep)
    return tree if isinstance(tree, dict) else {"": tree}


def read_plain(path: Path, arrays: dict[str, Any]) -> list[Detections]:
    """The people of the one array of keypoints."""
    poses = {name: array for name, array in arrays.items() if _is_pose(array)}
    if len(poses) != 1:
        found = f"{len(poses)} arrays of them: {some([ascii(name) for name in poses])}" if poses else "none"
        raise InputError(
            f"{path}: an array of keypoints is (frames, K, 2 or 3), (people, frames, K, 2 or 3); there is {found}"
        )
    ((name, array),) = poses.items()
    scores = [other for other in arrays.values() if _is_number(other) and other.shape == array.shape[:-1]]
    named = arrays.get("skeleton")
    skeleton = Detector(str(named)) if str(named) in list(Detector) else None
    if named is not None and skeleton is None:
        raise InputError(f"{path}: skeleton: {str(named)[:50]!a} is none of {', '.join(Detector)}")
    known = {about: known_number(path, about, arrays.get(about)) for about in ("fps", "width", "height")}
    sizes = {about: None if known[about] is None else int(known[about] or 0) for about in ("width", "height")}
    array, given = np.asarray(array, np.float64), np.asarray(scores[0], np.float64) if len(scores) == 1 else None
    if array.ndim == 3:
        array, given = array[None], None if given is None else given[None]
    elif array.shape[0] > array.shape[1]:
        array, given = array.swapaxes(0, 1), None if given is None else given.swapaxes(0, 1)
    source = f"{path}!{name}.npy" if name else str(path)
    return [_detections(source, KeypointFormat.ARRAYS, array, given, skeleton, fps=known["fps"], **sizes)]


def read_videopose3d(path: Path, arrays: dict[str, Any]) -> list[Detections]:
    """The person of each video, action and camera."""
    metadata = arrays.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    skeleton = _LAYOUTS.get(str(metadata.get("layout_name")))
    videos = metadata.get("video_metadata")
    found = []
    for names, array in _leaves(arrays["positions_2d"], ()):
        source = f"{path}: {'/'.join(names)}"
        if not _is_number(array) or array.ndim != 3 or array.shape[2] not in (2, 3):
            raise InputError(f"{source}: is no array (frames, K, 2)")
        about = videos.get(names[0]) if isinstance(videos, dict) else None
        w, h = (about.get(side) if isinstance(about, dict) else None for side in "wh")
        size = {"width": w, "height": h} if all(type(s) is int and 0 < s <= 65_536 for s in (w, h)) else {}
        poses = np.asarray(array, np.float64)[None]
        found.append(
            _detections(source, KeypointFormat.VIDEOPOSE3D, poses, None, skeleton, video="/".join(names), **size)
        )
    if not found:
        raise InputError(f"{path}: positions_2d: has no array")
    return found


def _detections(
    source: str, format: KeypointFormat, poses: np.ndarray, scores: np.ndarray | None, skeleton: Any, **known: Any
) -> Detections:
    """Of (people, frames, K, C): a row for each person and frame in which there is anything."""
    points = poses[..., :2]
    if scores is None:
        if poses.shape[-1] == 4:
            scores = poses[..., 3]
        elif poses.shape[-1] == 3 and not (
            poses.shape[2] == 33 and (poses[..., 2] < 0).any()
        ):  # or it is MediaPipe's z
            scores = poses[..., 2]
        else:
            scores = np.where((points == 0).all(axis=-1), 0.0, 1.0)
    there = (np.nan_to_num(scores) > 0).any(axis=-1) | np.isinf(points).any(axis=(-1, -2))
    person, frame = np.nonzero(there | (np.nan_to_num(scores) < 0).any(axis=-1))
    ids = person.astype(np.int64) if len(poses) > 1 else None
    frame = frame.astype(np.int64)
    return Detections(source, format, frame, points[person, frame], scores[person, frame], ids, skeleton, **known)


def _leaves(tree: Any, names: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """What stands in dicts and lists of up to three floors, with its names."""
    inner = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list | tuple) else None
    if inner is None and isinstance(tree, np.ndarray) and tree.ndim == 4:
        inner = enumerate(tree)
    if inner is None or len(names) == 3:
        yield names, tree
        return
    single = not isinstance(tree, dict) and len(tree) == 1
    for name, below in inner:
        yield from _leaves(below, names if single else (*names, ascii(str(name)[:80])[1:-1]))


def _is_number(array: Any) -> bool:
    return isinstance(array, np.ndarray) and array.dtype.kind in "iuf"


def _is_pose(array: Any) -> bool:
    if not _is_number(array) or array.ndim not in (3, 4) or 0 in array.shape:
        return False
    return array.shape[-2] in _COUNTS and array.shape[-1] in ((2, 3, 4) if array.shape[-2] == 33 else (2, 3))
