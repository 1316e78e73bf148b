"""Read keypoints in .npy and .npz files with the safe reader of motion files: no pickles, bounded memory.

- VideoPose3D's custom 2D: `positions_2d` is a dict of videos, of actions, of lists of cameras' arrays (frames, K, 2);
  `metadata` has `layout_name` and `video_metadata` (data/prepare_data_2d_custom.py). Each array is one video.
- Plain: one array (frames, K, C), or (people, frames, K, C) as in MMAction2 and PoseMamba. If the first axis is longer
  than the second, the array is (frames, people, K, C). C is x, y; x, y, confidence; or MediaPipe's x, y, z, visibility.
  A second array without the last axis has the confidences. `skeleton`, `fps`, `width` and `height` are optional.
- Missing keypoints are NaN or, without confidences, 0, 0.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from data_contracts.detector_skeletons import SKELETONS, Detector
from data_contracts.errors import InputError, some
from data_contracts.parameters import KeypointFormat
from tasks.ingest.reading import read_motion_file
from tasks.lifting.formats.detections import Detections
from tasks.lifting.formats.fields import known_number

_MOST_BYTES = 512 * 2**20  # all arrays together: 12 hours of COCO-17 at 30 fps; reading needs 5 to 10 times as much
_COUNTS = {133, *(len(skeleton.keypoints) for skeleton in SKELETONS.values())}
_LAYOUTS = {"coco": Detector.COCO17, "h36m": Detector.H36M17}  # VideoPose3D's names


def read_arrays(path: Path) -> dict[str, Any]:
    """Return the arrays of a file by name; the array of an .npy has the name ""."""
    bytes_left = _MOST_BYTES

    def check_size(array: np.ndarray) -> np.ndarray:
        nonlocal bytes_left
        bytes_left -= array.nbytes
        if bytes_left < 0:
            raise InputError(f"{path}: arrays take more than {_MOST_BYTES >> 20} MiB; cut the file into parts")
        return array

    tree = read_motion_file(path, check_size)
    return tree if isinstance(tree, dict) else {"": tree}


def read_plain(path: Path, arrays: dict[str, Any]) -> list[Detections]:
    """Return the people of the one array of keypoints."""
    poses = {name: array for name, array in arrays.items() if _is_pose(array)}
    if len(poses) != 1:
        found = f"{len(poses)} of them: {some([ascii(name) for name in poses])}" if poses else "0 of them"
        raise InputError(
            f"{path}: expected one array of keypoints, (frames, K, 2 or 3) or (people, frames, K, 2 or 3);"
            f" the file has {found}"
        )
    ((name, array),) = poses.items()
    scores = [other for other in arrays.values() if _is_number(other) and other.shape == array.shape[:-1]]
    skeleton_name = arrays.get("skeleton")
    skeleton = Detector(str(skeleton_name)) if str(skeleton_name) in list(Detector) else None
    if skeleton_name is not None and skeleton is None:
        raise InputError(f"{path}: skeleton: {str(skeleton_name)[:50]!a} is unknown, expected {', '.join(Detector)}")
    known = {field: known_number(path, field, arrays.get(field)) for field in ("fps", "width", "height")}
    sizes = {field: None if known[field] is None else int(known[field] or 0) for field in ("width", "height")}
    array, confidence = np.asarray(array, np.float64), np.asarray(scores[0], np.float64) if len(scores) == 1 else None
    if array.ndim == 3:
        array, confidence = array[None], None if confidence is None else confidence[None]
    elif array.shape[0] > array.shape[1]:
        array, confidence = array.swapaxes(0, 1), None if confidence is None else confidence.swapaxes(0, 1)
    source = f"{path}!{name}.npy" if name else str(path)
    return [_detections(source, KeypointFormat.ARRAYS, array, confidence, skeleton, fps=known["fps"], **sizes)]


def read_videopose3d(path: Path, arrays: dict[str, Any]) -> list[Detections]:
    """Return the person of each video, action and camera."""
    metadata = arrays.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    skeleton = _LAYOUTS.get(str(metadata.get("layout_name")))
    videos = metadata.get("video_metadata")
    detections = []
    for names, array in _leaves(arrays["positions_2d"], ()):
        source = f"{path}: {'/'.join(names)}"
        if not _is_number(array) or array.ndim != 3 or array.shape[2] not in (2, 3):
            raise InputError(f"{source}: expected an array (frames, K, 2)")
        video = videos.get(names[0]) if isinstance(videos, dict) else None
        w, h = (video.get(side) if isinstance(video, dict) else None for side in "wh")
        size = {"width": w, "height": h} if all(type(s) is int and 0 < s <= 65_536 for s in (w, h)) else {}
        poses = np.asarray(array, np.float64)[None]
        detections.append(
            _detections(source, KeypointFormat.VIDEOPOSE3D, poses, None, skeleton, video="/".join(names), **size)
        )
    if not detections:
        raise InputError(f"{path}: positions_2d: contains no arrays")
    return detections


def _detections(
    source: str, format: KeypointFormat, poses: np.ndarray, scores: np.ndarray | None, skeleton: Any, **known: Any
) -> Detections:
    """Return one row per person and frame with any keypoint, of poses (people, frames, K, C)."""
    points = poses[..., :2]
    if scores is None:
        if poses.shape[-1] == 4:
            scores = poses[..., 3]
        elif poses.shape[-1] == 3 and not (
            poses.shape[2] == 33 and (poses[..., 2] < 0).any()
        ):  # otherwise the third number is MediaPipe's z
            scores = poses[..., 2]
        else:
            scores = np.where((points == 0).all(axis=-1), 0.0, 1.0)
    present = (np.nan_to_num(scores) > 0).any(axis=-1) | np.isinf(points).any(axis=(-1, -2))
    person, frame = np.nonzero(present | (np.nan_to_num(scores) < 0).any(axis=-1))
    ids = person.astype(np.int64) if len(poses) > 1 else None
    frame = frame.astype(np.int64)
    return Detections(source, format, frame, points[person, frame], scores[person, frame], ids, skeleton, **known)


def _leaves(tree: Any, names: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the values in dicts and lists of up to three levels, with their names."""
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
