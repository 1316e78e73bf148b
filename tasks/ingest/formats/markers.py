"""Convert markers over time to clips: Plug-in-Gait markers, or markers at joint centres.

Programs write a missing marker as NaN, as (0, 0, 0), or with a residual of -1. Gaps of a marker of up to 0.2 s are
filled by cubic splines. Frames in longer gaps are left out, so that a recording may become several clips.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.interpolate import CubicSpline

from data_contracts.errors import InputError
from tasks.ingest.formats.axes import UNITS, MetricTree, OnArray, find_world, rotated
from tasks.ingest.formats.body import Points, to_h36m
from tasks.ingest.formats.names import find_joints, require_joints
from tasks.ingest.formats.plug_in_gait import find_markers, joints_of_markers

_LONGEST_GAP = 0.2  # seconds
_FARTHEST = 1e7  # in any unit
_UNITS = {"m": "m", "meters": "m", "metres": "m", "cm": "cm", "mm": "mm", "millimeters": "mm"}  # other units: by size


@dataclass(frozen=True)
class Markers:
    """Markers of a file: `points` (frames, names, 3), NaN if missing, in the `unit` of its header."""

    kind: str
    names: tuple[str, ...]
    points: np.ndarray
    fps: float
    unit: str  # lower case; unknown units are ignored
    likely_up: str  # see `find_world`


def read_markers(path: Path, markers: Markers, on_array: OnArray) -> MetricTree:
    """Return the tree of a file of markers; each stretch without long gaps is a clip.

    Parameters
    ----------
    on_array
        Called with the joints (frames, 17, 3) of each clip, in metres with z up; its results are in the tree.

    Raises
    ------
    InputError
        Markers are missing, very far away or never visible together, or the body has no human size in the file's unit.
    """
    is_known = np.isfinite(markers.points).all(axis=-1) & (markers.points != 0).any(axis=-1)
    seen = is_known.any(axis=0)
    names = {name: index for index, name in reversed([*enumerate(markers.names)]) if seen[index]}
    used, to_joints, what = _conversion(path, names)
    columns = list(used.values())
    points = np.where(is_known[:, columns, None], markers.points[:, columns].astype(np.float64), np.nan)
    if np.nanmax(np.abs(points)) > _FARTHEST:
        raise InputError(f"{path}: a marker is farther than {_FARTHEST:g} units from the origin; correct the file")
    points = fill_gaps(points, markers.fps)
    stretches = _stretches(np.asarray(np.isfinite(points).all(axis=(1, 2))))
    if not stretches:
        raise InputError(
            f"{path}: no two successive frames have all of {', '.join(used)}, after gaps of up to {_LONGEST_GAP} s were"
            " filled; fill the gaps of the markers"
        )
    kept = np.concatenate([points[begin:end] for begin, end in stretches])

    def convert(scale: float) -> np.ndarray:
        return to_joints({name: scale * kept[:, place] for place, name in enumerate(used)})

    world = find_world(path, convert(1.0), markers.likely_up, _UNITS.get(markers.unit, ""))
    joints = rotated(convert(UNITS[world.unit]), world.up).astype(np.float32)
    ends = np.cumsum([end - begin for begin, end in stretches])
    clips = [on_array(np.ascontiguousarray(clip)) for clip in np.split(joints, ends[:-1])]
    about = f"{markers.kind} of {what}, unit {world.unit}, {world.up} up"
    if left_out := len(points) - len(kept):
        about += f", {len(clips)} clips between gaps, {left_out} of {len(points)} frames left out"
    return MetricTree(about, joints=clips, names=path.stem, fps=markers.fps)  # one recording, so one name and group


def _conversion(path: Path, names: dict[str, int]) -> tuple[dict[str, int], Callable[[Points], np.ndarray], str]:
    """Return the columns of the needed markers by name, their conversion to joints, and their kind, or raise."""
    listed = list(names)
    gait, missing = find_markers(listed)
    if not missing:
        return {marker: names[name] for marker, name in gait.items()}, joints_of_markers, "Plug-in-Gait markers"
    found = find_joints(listed)
    if len(gait) > len(missing):
        raise InputError(f"{path}: the Plug-in-Gait markers {', '.join(missing)} are missing or hidden; add them")
    require_joints(path, found, listed)
    return {joint: names[listed[index]] for joint, index in found.items()}, to_h36m, "joint centres"


def fill_gaps(points: np.ndarray, fps: float) -> np.ndarray:
    """Return points (frames, markers, 3) with gaps of at most `_LONGEST_GAP` filled; longer gaps stay NaN."""
    filled = points.copy()
    frames = np.arange(len(points))
    for marker in range(points.shape[1]):
        known = np.flatnonzero(np.isfinite(points[:, marker]).all(axis=-1))
        filled[:, marker] = np.nan
        if len(known) > 1:
            filled[:, marker] = CubicSpline(known, points[known, marker], extrapolate=False)(frames)
            after = np.searchsorted(known, frames).clip(1, len(known) - 1)
            is_long = known[after] - known[after - 1] - 1 > _LONGEST_GAP * fps
            filled[is_long & ~np.isin(frames, known), marker] = np.nan
    return filled


def _stretches(good: np.ndarray) -> list[tuple[int, int]]:
    """Return begin and (exclusive) end of each run of at least two good frames."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], good, [False]]).astype(int)))
    return [(begin, end) for begin, end in edges.reshape(-1, 2).tolist() if end - begin > 1]
