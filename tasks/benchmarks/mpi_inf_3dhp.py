"""Read the test set of MPI-INF-3DHP: `TS1/annot_data.mat` to `TS6/annot_data.mat`, or P-STMO's `data_test_3dhp.npz`.

- A .mat is HDF5 (MATLAB 7.3): `annot2` (frames, 1, 17, 2) in pixels, `univ_annot3` (frames, 1, 17, 3) in millimetres
  and camera axes, `valid_frame` (frames, 1). The .npz has a dict of the same arrays for each sequence: `data_2d`,
  `data_3d`, `valid`.
- The 2D keypoints are projections of the annotated 3D poses; the files have no detections.
- The files have no frame rate and no intrinsics. The intrinsics follow from 2D and 3D by least squares.
"""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from data_contracts.benchmarks.clips import MOST_FRAMES, BenchmarkClip
from data_contracts.benchmarks.files import BenchmarkFiles
from data_contracts.detector_skeletons import Detector
from data_contracts.errors import InputError
from data_contracts.parameters import KeypointsParameters
from tasks.benchmarks.reading import Intrinsics, View, entries, entry, keypoints_of, numbers, read_tree

ASSUMED_FPS = 25.0  # of the studio; the training set has 25 and 50
_JOINTS = 17
# head top, neck, right arm, left arm, right leg, left leg, pelvis, spine, head (mpii_get_joints.m, "relevant")
_TO_H36M = (14, 8, 9, 10, 11, 12, 13, 15, 1, 16, 0, 5, 6, 7, 2, 3, 4)
_NAMES = {"annot2": "data_2d", "univ_annot3": "data_3d", "valid_frame": "valid"}  # in the .mat, in the .npz
_MOST_RESIDUAL_PX = 30.0
_MOST_BYTES = 8 * 3 * _JOINTS * MOST_FRAMES  # of an array in a .mat


def read_3dhp(source: BenchmarkFiles, options: KeypointsParameters) -> Iterator[BenchmarkClip]:
    """Yield a clip per sequence; the subject and the group are the sequence."""
    for sequence, where, arrays in _sequences(source):
        points, poses, valid = (_squeezed(arrays[name], f"{where}: {name}") for name in _NAMES)
        points = numbers(points, (None, _JOINTS, 2), f"{where}: 2D")[:, _TO_H36M]
        poses = numbers(poses, (None, _JOINTS, 3), f"{where}: 3D")[:, _TO_H36M] / 1000
        scored = numbers(valid.reshape(-1), (None,), f"{where}: valid frames") > 0
        if not len(points) == len(poses) == len(scored):
            raise InputError(
                f"{where}: {len(points)} frames of 2D, {len(poses)} of 3D and {len(scored)} of"
                " validity; expected equal numbers"
            )
        if not scored.any():
            raise InputError(f"{where}: no frame is marked as valid; copy the file again")
        camera = _fitted(points[scored], poses[scored], where)
        view = View(Detector.H36M17, points, (points != 0).any(axis=-1).astype(float), camera)
        fps = options.fps or ASSUMED_FPS
        yield BenchmarkClip(sequence, sequence, sequence, fps, keypoints_of(view, options), poses, scored)


def _sequences(source: BenchmarkFiles) -> Iterator[tuple[str, str, dict[str, np.ndarray]]]:
    """Yield each sequence: its name, its path for error messages, and its arrays by their names in a .mat."""
    if source.files[0].suffix == ".mat":
        for path in source.files:
            yield path.parent.name, str(path), _read_mat(path)
        return
    (path,) = source.files
    for sequence, values in entries(read_tree(path), "data", str(path)):
        where = f"{path}: {sequence}"
        yield sequence, where, {name: entry(values, own, where) for name, own in _NAMES.items()}


def _read_mat(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of an untrusted HDF5 file; an array that is stored in another file is refused."""
    try:
        import h5py
    except ModuleNotFoundError as error:
        hint = "pip install 'pose-uplift[benchmarks]', or pass data_test_3dhp.npz"
        raise InputError(f"{path}: needs the package h5py: {hint}") from error
    arrays = {}
    try:
        with h5py.File(path, "r") as file:
            for name in _NAMES:
                is_own = isinstance(file.get(name, getlink=True), h5py.HardLink)
                data = file[name] if is_own else None
                if not isinstance(data, h5py.Dataset) or data.external or data.is_virtual:
                    raise ValueError(f"no array {name} in this file")
                if data.dtype.kind not in "biuf":
                    raise ValueError(f"{name} has the type {data.dtype}; expected an array of numbers")
                size = max(data.size, math.prod(data.chunks or ())) * data.dtype.itemsize  # a chunk is read as a whole
                if size > _MOST_BYTES:
                    raise ValueError(f"{name} takes {size:,} bytes of memory; expected at most {_MOST_BYTES:,}")
                arrays[name] = data[()]
    except (OSError, RuntimeError, ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"{path}: is not a valid annot_data.mat of MPI-INF-3DHP (HDF5, MATLAB 7.3): {error}; copy the file from the"
            " benchmark's archive again"
        ) from error
    return arrays


def _squeezed(value: object, where: str) -> np.ndarray:
    """Return an array without axes of length 1 after the first."""
    if not isinstance(value, np.ndarray) or not value.ndim:
        raise InputError(f"{where}: is a {type(value).__name__}; expected an array of numbers")
    return value.reshape(len(value), *(length for length in value.shape[1:] if length != 1))


def _fitted(points: np.ndarray, poses: np.ndarray, where: str) -> Intrinsics:
    """Return the intrinsics that project `poses` (n, 17, 3) to `points` (n, 17, 2), by least squares."""
    if not np.isfinite(points).all() or not np.isfinite(poses).all() or not (poses[..., 2] > 0).all():
        raise InputError(
            f"{where}: NaN, or 3D joints behind the camera; expected positions in camera axes, not relative to a joint"
        )
    ratios, pixels = (poses[..., :2] / poses[..., 2:]).astype(np.float64), points.astype(np.float64)
    (fx, cx), (fy, cy) = (np.polyfit(ratios[..., axis].ravel(), pixels[..., axis].ravel(), 1) for axis in (0, 1))
    residual = np.abs(ratios * (fx, fy) + (cx, cy) - pixels).max(axis=-1)
    if not (np.median(residual) < _MOST_RESIDUAL_PX and min(fx, fy) > 1):
        raise InputError(
            f"{where}: no camera projects the 3D poses to the 2D keypoints (median error {np.median(residual):.3g} px);"
            " frames, joints or axes of the two do not belong together"
        )
    return Intrinsics(float(fx), float(fy), float(cx), float(cy))
