"""Read TRC in pixels, as Sports2D writes it: one person, markers named in the fourth line, no confidences.

- Lines: file type; names of the header; values of the header, e.g. DataRate, NumFrames, NumMarkers, Units; Frame#,
  Time, and the name of each marker above its three columns; X1 Y1 Z1 ...; then one row per frame, separated by tabs.
- Empty or nan fields and 0, 0 are missing. Units other than px are 3D motion and refused.
"""

from array import array
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from data_contracts.detector_skeletons import SKELETONS, Detector
from data_contracts.errors import InputError
from data_contracts.parameters import KeypointFormat
from tasks.lifting.formats.detections import Detections

BEGINS = b"PathFileType"
_MOST_BYTES = 64 * 2**20
_MOST_MARKERS = 1000
_PARTS = {
    **{part.title(): part for part in ("hip", "knee", "ankle", "shoulder", "elbow", "wrist", "eye", "ear", "heel")},
    **{"BigToe": "big_toe", "SmallToe": "small_toe"},
}
MARKERS = {
    **{f"L{marker}": f"left_{part}" for marker, part in _PARTS.items()},
    **{f"R{marker}": f"right_{part}" for marker, part in _PARTS.items()},
    **{"Nose": "nose", "Neck": "neck", "Head": "head", "Hip": "mid_hip", "CHip": "mid_hip"},
}  # Pose2Sim's names of keypoints


def read_trc(path: Path) -> list[Detections]:
    """Return the person of the file; the skeleton is Halpe-26 if neck and head have markers, else COCO or BODY_25."""
    if path.stat().st_size > _MOST_BYTES:
        raise InputError(f"{path}: is larger than {_MOST_BYTES >> 20} MiB; cut the file into parts")
    try:
        with path.open(encoding="utf-8-sig") as file:
            return _read(path, (line.rstrip("\n") for line in file))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({ascii(str(error)[:200])[1:-1]})") from error


def _read(path: Path, lines: Iterator[str]) -> list[Detections]:
    beginning = list(islice(lines, 5))
    if len(beginning) < 5:
        raise InputError(f"{path}: is cut off: expected five header lines before the frames")
    header = dict(zip(beginning[1].split("\t"), beginning[2].split("\t"), strict=False))
    unit = header.get("Units", "").strip().lower()
    if unit not in ("px", "pixel", "pixels"):
        raise InputError(f"{path}: Units: {unit[:20]!a}: expected px; a TRC in metres is 3D motion, not keypoints")
    names = [name.strip() for name in beginning[3].split("\t")[2::3]]
    while names and not names[-1]:
        names.pop()
    if not names or len(names) > _MOST_MARKERS or len(set(names)) < len(names):
        raise InputError(f"{path}: line 4: expected the names of the markers, each once")
    rows = _rows(path, lines, 2 + 3 * len(names))
    frame = rows[:, 0]
    if not (np.isfinite(frame) & (frame == np.round(frame)) & (np.abs(frame) < 2**53)).all():
        raise InputError(f"{path}: Frame#: expected an integer in every row")
    numbers, times = np.unique(frame, return_counts=True)
    for number in numbers[times > 1][:1]:
        raise InputError(f"{path}: frame {number:g}: occurs twice")
    xy = rows[:, 2:].reshape(len(rows), -1, 3)[..., :2]
    skeleton = _skeleton(path, names)
    keypoints = SKELETONS[skeleton].keypoints
    points = np.full((len(rows), len(keypoints), 2), np.nan)
    for place, name in enumerate(names):
        if MARKERS.get(name) in keypoints:
            points[:, keypoints.index(MARKERS[name])] = xy[:, place]
    seen = ~np.isnan(points).any(axis=-1) & (points != 0).any(axis=-1)
    rate = _rate(path, header.get("DataRate", ""))
    return [
        Detections(
            *(str(path), KeypointFormat.TRC, frame.astype(np.int64), points, seen.astype(float)),
            skeleton=skeleton,
            fps=rate,
        )
    ]


def _rows(path: Path, lines: Iterator[str], count: int) -> np.ndarray:
    values = array("d")  # 8 bytes per number; a Python string takes 60
    for place, line in enumerate(lines, start=6):
        if not line.strip():
            continue
        fields = line.split("\t")
        fields = fields[:-1] if len(fields) == count + 1 and not fields[-1].strip() else fields
        if len(fields) != count:
            raise InputError(f"{path}: line {place}: has {len(fields)} fields, expected {count} for the markers")
        try:
            values.extend([float(field.strip() or "nan") for field in fields])
        except ValueError as error:
            raise InputError(f"{path}: line {place}: {ascii(str(error)[:100])[1:-1]}") from error
    if not values:
        raise InputError(f"{path}: is cut off: the file has no frames")
    return np.frombuffer(values).reshape(-1, count)


def _skeleton(path: Path, names: list[str]) -> Detector:
    """Return the first skeleton whose used keypoints all have a marker."""
    marked = {MARKERS.get(name) for name in names}
    for skeleton in (Detector.HALPE26, Detector.COCO17, Detector.BODY25):
        used = np.flatnonzero(SKELETONS[skeleton].weights.any(axis=0))
        if {SKELETONS[skeleton].keypoints[keypoint] for keypoint in used} <= marked:
            return skeleton
    raise InputError(
        f"{path}: line 4: expected markers of hips, knees, ankles, shoulders, elbows, wrists (RHip, ...), Nose, and"
        " Neck with Head, or LEar with REar"
    )


def _rate(path: Path, text: str) -> float | None:
    try:
        rate = float(text)
    except ValueError:
        return None
    if not 0 < rate <= 1000:
        raise InputError(f"{path}: DataRate: {rate:g} is out of bounds, expected a number above 0 and at most 1000")
    return rate
