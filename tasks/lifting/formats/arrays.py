"""Read keypoints in .npy and .npz files with the safe reader of motion files: no pickles, bounded memory.

- VideoPose3D's custom 2D: `positions_2d[video][action]` is a list with one array (frames, K, 2) per camera;
  `metadata` has `layout_name` and `video_metadata` (data/prepare_data_2d_custom.py). Each array is one video.
- Plain: one array (frames, K, C), or (people, frames, K, C) as in MMAction2 and PoseMamba. If the first axis is longer
  than the second, the array is (frames, people, K, C). C is x, y; x, y, confidence; or MediaPipe's x, y, z, visibility.
  A second array, without the last axis, contains confidences. `skeleton`, `fps`, `width` and `height` are optional.
- Missing keypoints are NaN or, without confidences, 0, 0.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from data_contracts.detector_skeletons import SKELETONS, Detector
from data_contracts.errors import InputError, some
from data_contracts.parameters import KeypointFormat
from tasks.ingest.reading import read_motion_file
from tasks.lifting.formats.detections import WHOLE_BODIES, Detections, rate_and_size, refuse_unseen, unknown_skeleton

_MOST_BYTES = 512 * 2**20  # all arrays together: 12 hours of COCO-17 at 30 fps; reading needs 5 to 10 times as much
_COUNTS = {*WHOLE_BODIES, *(len(skeleton.keypoints) for skeleton in SKELETONS.values())}
_LAYOUTS = {"coco": Detector.COCO17, "h36m": Detector.H36M17}  # VideoPose3D's names


def read_arrays(path: Path) -> list[Detections]:
    """Return the people of an .npy or .npz, one entry per video."""
    bytes_left = _MOST_BYTES

    def check_size(array: np.ndarray) -> np.ndarray:
        nonlocal bytes_left
        bytes_left -= array.nbytes
        if bytes_left < 0:
            raise InputError(f"{path}: arrays take more than {_MOST_BYTES >> 20} MiB; cut the file into parts")
        return array

    tree = read_motion_file(path, check_size)
    arrays = tree if isinstance(tree, dict) else {"": tree}
    return _read_videopose3d(path, arrays) if "positions_2d" in arrays else [_read_plain(path, arrays)]


def _read_plain(path: Path, arrays: dict[str, Any]) -> Detections:
    """Return the people of a file with one array of keypoints."""
    poses = {name: array for name, array in arrays.items() if _is_pose(array)}
    others = [array.shape[-2] for array in arrays.values() if _is_number(array) and array.ndim in (3, 4)]
    if not poses and others:
        raise InputError(f"{path}: {unknown_skeleton(others[0])}")
    if len(poses) != 1:
        shapes = [
            f"{name!a} {getattr(array, 'shape', '')}".removeprefix("'' ") for name, array in (poses or arrays).items()
        ]
        raise InputError(
            f"{path}: expected one array of keypoints, (frames, K, 2 or 3) or (people, frames, K, 2 or 3); the file has"
            f" {some(shapes)}"
        )
    ((name, array),) = poses.items()
    scores = [other for other in arrays.values() if _is_number(other) and other.shape == array.shape[:-1]]
    skeleton = arrays.get("skeleton")
    if skeleton is not None and str(skeleton) not in list(Detector):
        raise InputError(f"{path}: skeleton: {str(skeleton)[:50]!a} is unknown, expected {', '.join(Detector)}")
    confidence = scores[0] if len(scores) == 1 else None
    if array.ndim == 3:
        array, confidence = array[None], None if confidence is None else confidence[None]
    elif array.shape[0] > array.shape[1]:
        array, confidence = array.swapaxes(0, 1), None if confidence is None else confidence.swapaxes(0, 1)
    source = f"{path}!{name}.npy" if name else str(path)
    detections = _detections(source, KeypointFormat.ARRAYS, array, confidence)
    return replace(detections, skeleton=skeleton and Detector(str(skeleton)), **rate_and_size(path, arrays))


def _read_videopose3d(path: Path, arrays: dict[str, Any]) -> list[Detections]:
    """Return the person of each video, action and camera."""
    metadata = arrays.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    videos = metadata.get("video_metadata")
    detections = []
    for names, array in _leaves(arrays["positions_2d"], ()):
        source = f"{path}: {'/'.join(names)}"
        if not _is_number(array) or array.ndim != 3 or array.shape[2] not in (2, 3):
            found = getattr(array, "shape", type(array).__name__)
            raise InputError(f"{source}: {found}; expected an array (frames, K, 2) of x and y in pixels")
        video = videos.get(names[0]) if isinstance(videos, dict) else None
        size = rate_and_size(path, video if isinstance(video, dict) else {}, ("fps", "w", "h"))
        found = _detections(source, KeypointFormat.VIDEOPOSE3D, array[None], None)
        skeleton = _LAYOUTS.get(str(metadata.get("layout_name")))
        detections.append(replace(found, video="/".join(names), skeleton=skeleton, **size))
    if not detections:
        raise InputError(f"{path}: positions_2d: contains no arrays")
    return detections


def _detections(source: str, format: KeypointFormat, poses: np.ndarray, scores: np.ndarray | None) -> Detections:
    """Return one row for each person in each frame that has a keypoint in `poses` (people, frames, K, C)."""
    points = poses[..., :2]
    if scores is None:
        is_z = poses.shape[2] == 33 and (poses[..., 2:] < 0).any()  # the last of MediaPipe's numbers may be z
        if poses.shape[-1] == 4 or (poses.shape[-1] == 3 and not is_z):
            scores = poses[..., -1]
        else:
            scores = np.where((points == 0).all(axis=-1), 0.0, 1.0)
    if poses.size:
        refuse_unseen(source, np.nan_to_num(scores))
    present = (np.nan_to_num(scores) != 0).any(axis=-1) | np.isinf(points).any(axis=(-1, -2))
    person, frame = np.nonzero(present)
    ids = person.astype(np.int64) if len(poses) > 1 else None
    points, scores = (array[person, frame].astype(np.float64) for array in (points, scores))
    return Detections(source, format, frame.astype(np.int64), points, scores, ids)


def _leaves(tree: Any, names: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the values of nested dicts and lists (up to three levels), each with its keys."""
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
