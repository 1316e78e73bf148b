"""Read tables of keypoints: MediaPipe's landmarks in CSV, and TRC in pixels, as Sports2D writes it.

- CSV, wide: one row per frame, with an optional column `frame`, and x, y and visibility of each landmark by number or
  name: `x0`, `x_0`, `0_x`, `nose_x`, `landmark_0_x`; numbers start at 0 or 1; v or visibility.
- CSV, long: one row per landmark: `frame`, `landmark` (or `landmark_id`, `index`, `id`), `x`, `y`, `visibility`.
- TRC, one person, separated by tabs. Line 1: file type. Lines 2 and 3: names and values of the header (DataRate, Units,
  ...). Line 4: Frame#, Time, and the name of each marker above its three columns. Line 5: X1 Y1 Z1 ... Then one row per
  frame. A file with other units than px contains 3D motion and is refused.

A landmark is missing if a field is empty or nan, or its visibility is 0.
"""

import csv
import re
from array import array
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from data_contracts.detector_skeletons import SKELETONS, Detector
from data_contracts.errors import InputError
from data_contracts.parameters import KeypointFormat
from tasks.lifting.formats.detections import Detections, rate_and_size
from tasks.lifting.formats.json_formats import FRAME, VISIBILITY

TRC_BEGINS = b"PathFileType"
_MOST_BYTES = 64 * 2**20  # an hour of 33 landmarks at 30 fps
_MOST_COLUMNS = 3002  # 1000 markers
_LANDMARKS = SKELETONS[Detector.MEDIAPIPE33].keypoints
_COUNT = len(_LANDMARKS)
_LANDMARK = ("landmark", "landmark_id", "landmark_index", "index", "id")
_PARTS = {
    **{part.title(): part for part in ("hip", "knee", "ankle", "shoulder", "elbow", "wrist", "eye", "ear", "heel")},
    **{"BigToe": "big_toe", "SmallToe": "small_toe"},
}
MARKERS = {
    **{f"L{marker}": f"left_{part}" for marker, part in _PARTS.items()},
    **{f"R{marker}": f"right_{part}" for marker, part in _PARTS.items()},
    **{"Nose": "nose", "Neck": "neck", "Head": "head", "Hip": "mid_hip", "CHip": "mid_hip"},
}  # Pose2Sim's names of keypoints


def read_csv(path: Path) -> Detections:
    """Return the landmarks of the person in a CSV, wide or long."""
    with _rows_of(path, delimiter=",") as rows:
        names: list[str] = next((row for row in rows if row), [])
        values = _numbers(path, rows, len(names), {name: str(place) for place, name in enumerate(_LANDMARKS)})
    lowered = [name.strip().lower() for name in names]
    number = next((lowered.index(name) for name in FRAME if name in lowered), None)
    frames = _frame_numbers(path, np.arange(len(values)) if number is None else values[:, number])
    landmark = next((lowered.index(name) for name in _LANDMARK if name in lowered), None)
    if landmark is not None and {"x", "y"} <= {*lowered}:
        frames, points, visible = _long_table(path, lowered, values, frames, values[:, landmark])
    else:
        points, visible = _wide_table(path, lowered, values)
        _refuse_repeated(path, frames)
    return Detections(str(path), KeypointFormat.MEDIAPIPE, frames, points, visible, skeleton=Detector.MEDIAPIPE33)


def read_trc(path: Path) -> Detections:
    """Return the person in a TRC; the skeleton is Halpe-26 if neck and head have markers, else COCO or BODY_25."""
    with _rows_of(path, delimiter="\t", quoting=csv.QUOTE_NONE) as rows:
        header = list(islice(rows, 5))
        if len(header) < 5:
            raise InputError(f"{path}: is cut off: expected five header lines before the frames")
        about = dict(zip(header[1], header[2], strict=False))
        unit = about.get("Units", "").strip().lower()
        if unit not in ("px", "pixel", "pixels"):
            raise InputError(f"{path}: Units: {unit[:20]!a}: expected px; a TRC in metres is 3D motion, not keypoints")
        names = [name.strip() for name in header[3][2::3]]
        while names and not names[-1]:
            names.pop()
        if not names or len(set(names)) < len(names):
            raise InputError(f"{path}: line 4: expected the names of the markers, each once")
        values = _numbers(path, rows, 2 + 3 * len(names), {})
    frames = _frame_numbers(path, values[:, 0])
    _refuse_repeated(path, frames)
    skeleton = _skeleton_of(path, names)
    keypoints = SKELETONS[skeleton].keypoints
    points = np.full((len(values), len(keypoints), 2), np.nan)
    for place, name in enumerate(names):
        if MARKERS.get(name) in keypoints:
            points[:, keypoints.index(MARKERS[name])] = values[:, 2 + 3 * place : 4 + 3 * place]
    seen = ~np.isnan(points).any(axis=-1)
    detections = Detections(str(path), KeypointFormat.TRC, frames, points, seen.astype(float), skeleton=skeleton)
    rate: dict[str, float] = {}
    with suppress(KeyError, ValueError):
        rate["DataRate"] = float(about["DataRate"])
    return replace(detections, **rate_and_size(path, rate, ("DataRate", "width", "height")))


@contextmanager
def _rows_of(path: Path, **dialect: Any) -> Iterator[Any]:
    if path.stat().st_size > _MOST_BYTES:
        raise InputError(f"{path}: is larger than {_MOST_BYTES >> 20} MiB; cut the file into parts")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield csv.reader(file, **dialect)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as a table ({ascii(str(error)[:200])[1:-1]})") from error


def _numbers(path: Path, rows: Any, count: int, numbers: Mapping[str, str]) -> np.ndarray:
    """Return the other rows as numbers (rows, `count`); `numbers` maps texts to numbers; empty fields are NaN."""
    if not 0 < count <= _MOST_COLUMNS:
        raise InputError(f"{path}: has {count} columns, expected 1 to {_MOST_COLUMNS}")
    values = array("d")  # 8 bytes per number; a Python string takes 60
    for row in rows:
        if len(row) != count and not any(map(str.strip, row)):  # a blank line
            continue
        if len(row) == count + 1 and not row[-1].strip():
            row.pop()
        if len(row) != count:
            raise InputError(f"{path}: line {rows.line_num}: has {len(row)} fields, expected {count} as in the header")
        for field in row:
            text = field.strip()
            try:
                values.append(float(numbers.get(text.lower(), text) or "nan"))
            except ValueError as error:
                raise InputError(f"{path}: line {rows.line_num}: {text[:50]!a} is not a number") from error
    if not values:
        raise InputError(f"{path}: is cut off: expected a header and at least one row of numbers")
    return np.frombuffer(values).reshape(-1, count)


def _frame_numbers(path: Path, values: np.ndarray) -> np.ndarray:
    if not (np.isfinite(values) & (values == np.round(values)) & (np.abs(values) < 2**53)).all():
        raise InputError(f"{path}: Frame#: expected an integer as frame number in every row")
    return values.astype(np.int64)


def _refuse_repeated(path: Path, frames: np.ndarray) -> None:
    numbers, times = np.unique(frames, return_counts=True)
    for number in numbers[times > 1][:1]:
        raise InputError(f"{path}: frame {number}: occurs twice in the table")


def _wide_table(path: Path, names: list[str], values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return points (rows, 33, 2) and visibilities (rows, 33)."""
    columns = _wide_columns(names)
    for index in range(_COUNT):
        for axis in "xy":
            if (index, axis) not in columns:
                raise InputError(
                    f"{path}: has no column for {axis} of {_LANDMARKS[index]}, expected x and y of {_COUNT} landmarks"
                )
    x, y = (values[:, [columns[index, axis] for index in range(_COUNT)]] for axis in "xy")
    has_visibility = all((index, "v") in columns for index in range(_COUNT))
    visible = values[:, [columns[index, "v"] for index in range(_COUNT)]] if has_visibility else np.ones_like(x)
    return np.stack([x, y], axis=-1), visible


def _wide_columns(names: list[str]) -> dict[tuple[int, str], int]:
    """Return the column of each (landmark, axis)."""
    axes = {"x": "x", "y": "y", **dict.fromkeys(VISIBILITY, "v")}
    columns: dict[tuple[int, str], int] = {}
    for column, name in enumerate(names):
        ending = re.fullmatch(r"(?:landmark_?)?(.+?)_(x|y|v|visibility|score|confidence)", name)
        begin = re.fullmatch(r"(x|y|v|visibility|score|confidence)_?(\d+)", name)
        landmark, axis = ending.groups() if ending else (begin.group(2), begin.group(1)) if begin else ("", "")
        if landmark in _LANDMARKS:
            columns[_LANDMARKS.index(landmark), axes[axis]] = column
        elif re.fullmatch(r"\d{1,2}", landmark):
            columns[int(landmark), axes[axis]] = column
    from_one = (_COUNT, "x") in columns and (0, "x") not in columns
    return {(index - 1, axis): column for (index, axis), column in columns.items()} if from_one else columns


def _long_table(
    path: Path, names: list[str], values: np.ndarray, frames: np.ndarray, landmarks: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return frame numbers (n,), points (n, 33, 2) and visibilities (n, 33)."""
    for frame in frames[~np.isin(landmarks, np.arange(_COUNT))][:1]:
        raise InputError(
            f"{path}: frame {frame}: landmark: expected a number from 0 to {_COUNT - 1} or a landmark's name"
        )
    column = landmarks.astype(int)
    cells, times = np.unique(frames * _COUNT + column, return_counts=True)
    for cell in cells[times > 1][:1]:
        raise InputError(f"{path}: frame {cell // _COUNT}: has landmark {cell % _COUNT} twice")
    seen, row = np.unique(frames, return_inverse=True)
    points, visible = np.full((len(seen), _COUNT, 2), np.nan), np.zeros((len(seen), _COUNT))
    points[row, column] = values[:, [names.index("x"), names.index("y")]]
    visibility = next((names.index(name) for name in VISIBILITY if name in names), None)
    visible[row, column] = 1.0 if visibility is None else values[:, visibility]
    return seen, points, visible


def _skeleton_of(path: Path, names: list[str]) -> Detector:
    """Return the first skeleton whose used keypoints all have a marker."""
    marked = {MARKERS.get(name) for name in names}
    for skeleton in (Detector.HALPE26, Detector.COCO17, Detector.BODY25):
        used = np.flatnonzero(SKELETONS[skeleton].weights.any(axis=0))
        if {SKELETONS[skeleton].keypoints[keypoint] for keypoint in used} <= marked:
            return skeleton
    raise InputError(
        f"{path}: line 4: expected markers of hips, knees, ankles, shoulders, elbows, wrists (RHip, ...) and Nose, and"
        " in addition either Neck and Head, or LEar and REar"
    )
