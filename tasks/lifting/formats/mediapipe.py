"""Read landmarks of MediaPipe's pose landmarker, as users save them: JSON by frames, or CSV; 33 per person.

- JSON: a list of frames (or a dict with the list in `frames`, `landmarks` or `data`, and optionally `fps`, `width` and
  `height`). A frame is a list of landmarks, a list of people's landmarks, or a dict with `landmarks` or
  `pose_landmarks` and optionally `frame`; null or an empty list is a frame without people. A landmark is
  `{"x": ..., "y": ..., "visibility": ...}` or [x, y, z, visibility]. The landmarks of one image may replace the list of
  frames (in `landmark`, as protobuf writes them).
- CSV, wide: one row per frame, with an optional column `frame`, and x, y and visibility of each landmark by number or
  name: `x0`, `x_0`, `0_x`, `nose_x`, `landmark_0_x`; numbers start at 0 or 1; v or visibility.
- CSV, long: one row per landmark: `frame`, `landmark` (or `landmark_id`, `index`, `id`), `x`, `y`, `visibility`.

Coordinates are shares of the image. A landmark with visibility 0 or an empty visibility is missing.
"""

import csv
import re
from array import array
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from data_contracts.detector_skeletons import SKELETONS, Detector
from data_contracts.errors import InputError
from data_contracts.parameters import KeypointFormat
from tasks.lifting.formats.detections import Detections
from tasks.lifting.formats.fields import as_rows, known_number

_NAMES = SKELETONS[Detector.MEDIAPIPE33].keypoints
_COUNT = len(_NAMES)
_NUMBERED = {name: str(place) for place, name in enumerate(_NAMES)}
_LANDMARKS = ("landmarks", "pose_landmarks", "poseLandmarks", "landmark", "keypoints")
_LISTS = ("frames", "data", *_LANDMARKS)
_FRAME = ("frame", "frame_id", "frame_index", "frame_number", "frame_idx")
_LANDMARK = ("landmark", "landmark_id", "landmark_index", "index", "id")
_VISIBILITY = ("visibility", "v", "score", "confidence")
_MOST_COLUMNS = 1000
_MOST_CSV = 64 * 2**20  # bytes; an hour of 33 landmarks at 30 fps


def is_mediapipe(tree: object) -> bool:
    """Return whether the JSON is MediaPipe's, detected from the first frame with a person."""
    first = next(
        (person for frame in _frames(tree) if isinstance(frame, list | dict) for person in _people(frame)), None
    )
    return isinstance(first, list) and len(first) == _COUNT and _is_landmark(first[0])


def read_mediapipe(path: Path, tree: object) -> list[Detections]:
    """Return the people of all frames of a JSON."""
    rows: list[Any] = []
    numbers: list[int] = []
    seen: set[int] = set()
    for place, frame in enumerate(_frames(tree)):
        number = next((frame[name] for name in _FRAME if name in frame), place) if isinstance(frame, dict) else place
        if type(number) is not int:
            raise InputError(f"{path}: entry {place} of the frames: expected an integer as frame number")
        if number in seen:
            raise InputError(f"{path}: frame {number}: occurs twice in the list of frames")
        seen.add(number)
        if frame is not None and not isinstance(frame, list | dict):
            raise InputError(f"{path}: frame {number}: expected a list of landmarks, not a {type(frame).__name__}")
        for person in _people(frame) if frame else ():
            if not isinstance(person, list) or len(person) != _COUNT or not all(map(_is_landmark, person)):
                raise InputError(f"{path}: frame {number}: landmarks: expected {_COUNT} per person, with x and y")
            rows.append([_numbers(landmark) for landmark in person])
            numbers.append(max(-1, min(number, 2**60)))
    if not rows:
        raise InputError(f"{path}: contains no people: no frame has {_COUNT} landmarks")
    values = as_rows(rows, str(path), numbers, "landmarks")
    detections = _detections(path, np.array(numbers, dtype=np.int64), values[..., :2], values[..., 2])
    header = tree if isinstance(tree, dict) else {}
    fps, *size = (known_number(path, name, header.get(name)) for name in ("fps", "width", "height"))
    width, height = (None if side is None else int(side) for side in size)
    return [replace(detections, fps=fps, width=width, height=height)]


def read_landmark_table(path: Path) -> list[Detections]:
    """Return the person of a CSV, wide or long."""
    names, values = _read_csv(path)
    lowered = [name.strip().lower() for name in names]
    number = next((lowered.index(name) for name in _FRAME if name in lowered), None)
    frames = np.arange(len(values), dtype=float) if number is None else values[:, number]
    if not (np.isfinite(frames) & (frames == np.round(frames)) & (np.abs(frames) < 2**53)).all():
        raise InputError(f"{path}: column {names[number or 0]}: expected an integer as frame number in every row")
    landmark = next((lowered.index(name) for name in _LANDMARK if name in lowered), None)
    if landmark is not None and {"x", "y"} <= {*lowered}:
        return [_long_table(path, lowered, values, frames.astype(np.int64), values[:, landmark])]
    places = _wide_columns(lowered)
    missing = [f"{axis} of {_NAMES[index]}" for index in range(_COUNT) for axis in "xy" if (index, axis) not in places]
    if missing:
        raise InputError(f"{path}: has no column for {missing[0]}, expected x and y of {_COUNT} landmarks")
    _refuse_repeated(path, frames)
    x, y = (values[:, [places[index, axis] for index in range(_COUNT)]] for axis in "xy")
    has_visibility = all((index, "v") in places for index in range(_COUNT))
    visible = values[:, [places[index, "v"] for index in range(_COUNT)]] if has_visibility else np.ones_like(x)
    return [_detections(path, frames.astype(np.int64), np.stack([x, y], axis=-1), visible)]


def _detections(path: Path, frame: np.ndarray, points: np.ndarray, confidence: np.ndarray) -> Detections:
    return Detections(str(path), KeypointFormat.MEDIAPIPE, frame, points, confidence, skeleton=Detector.MEDIAPIPE33)


def _frames(tree: object) -> list[Any]:
    if isinstance(tree, dict):
        tree = next((tree[name] for name in _LISTS if isinstance(tree.get(name), list)), None)
    if not isinstance(tree, list):
        return []
    return [tree] if tree and _is_landmark(tree[0]) else tree  # landmarks of one image


def _people(frame: list[Any] | dict[str, Any]) -> list[Any]:
    """Return the lists of landmarks in a frame."""
    if isinstance(frame, dict):
        frame = next((frame[name] for name in _LANDMARKS if isinstance(frame.get(name), list)), [])
    return [frame] if frame and _is_landmark(frame[0]) else list(frame)


def _is_landmark(value: object) -> bool:
    if isinstance(value, dict):
        return "x" in value and "y" in value
    return isinstance(value, list) and len(value) == 4 and not isinstance(value[0], list | dict)


def _numbers(landmark: dict[str, Any] | list[Any]) -> list[Any]:
    """Return x, y, visibility."""
    if isinstance(landmark, list):
        return [landmark[0], landmark[1], landmark[3]]
    return [landmark["x"], landmark["y"], next((landmark[name] for name in _VISIBILITY if name in landmark), 1.0)]


def _read_csv(path: Path) -> tuple[list[str], np.ndarray]:
    """Return the column names, and the numbers (rows, columns); empty fields are NaN, landmark names their numbers."""
    if path.stat().st_size > _MOST_CSV:
        raise InputError(f"{path}: is larger than {_MOST_CSV >> 20} MiB; cut the file into parts")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = (row for row in csv.reader(file) if row)
            names = next(rows, [])
            if not 0 < len(names) <= _MOST_COLUMNS:
                raise InputError(f"{path}: expected a CSV with a header line and at most {_MOST_COLUMNS} columns")
            values = array("d")  # 8 bytes per number; a Python string takes 60
            for line, row in enumerate(rows, start=2):
                values.extend(_row(path, line, row, names))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: is not a CSV ({ascii(str(error)[:200])[1:-1]})") from error
    if not values:
        raise InputError(f"{path}: expected a CSV with a header line and at least one row of numbers")
    return names, np.frombuffer(values).reshape(-1, len(names))


def _row(path: Path, line: int, row: list[str], names: list[str]) -> Iterator[float]:
    if len(row) != len(names):
        raise InputError(f"{path}: line {line}: has {len(row)} fields, expected {len(names)} as in the header")
    for name, field in zip(names, row, strict=True):
        text = field.strip()
        try:
            yield float(_NUMBERED.get(text.lower(), text) or "nan")
        except ValueError as error:
            raise InputError(f"{path}: line {line}: {name[:50]}: {text[:50]!a} is not a number") from error


def _wide_columns(names: list[str]) -> dict[tuple[int, str], int]:
    """Return the column of each (landmark, axis)."""
    axes = {"x": "x", "y": "y", **dict.fromkeys(_VISIBILITY, "v")}
    columns: dict[tuple[int, str], int] = {}
    for column, name in enumerate(names):
        ending = re.fullmatch(r"(?:landmark_?)?(.+?)_(x|y|v|visibility|score|confidence)", name)
        begin = re.fullmatch(r"(x|y|v|visibility|score|confidence)_?(\d+)", name)
        landmark, axis = ending.groups() if ending else (begin.group(2), begin.group(1)) if begin else ("", "")
        if landmark in _NAMES:
            columns[_NAMES.index(landmark), axes[axis]] = column
        elif re.fullmatch(r"\d{1,2}", landmark):
            columns[int(landmark), axes[axis]] = column
    from_one = (_COUNT, "x") in columns and (0, "x") not in columns
    return {(index - 1, axis): column for (index, axis), column in columns.items()} if from_one else columns


def _long_table(
    path: Path, names: list[str], values: np.ndarray, frames: np.ndarray, landmarks: np.ndarray
) -> Detections:
    if not np.isin(landmarks, np.arange(_COUNT)).all():
        line = int(np.flatnonzero(~np.isin(landmarks, np.arange(_COUNT)))[0]) + 2
        raise InputError(
            f"{path}: line {line}: landmark: expected a number from 0 to {_COUNT - 1} or a landmark's name"
        )
    seen, row = np.unique(frames, return_inverse=True)
    column = landmarks.astype(int)
    place = row * _COUNT + column
    if len(np.unique(place)) < len(place):
        again = np.setdiff1d(np.arange(len(place)), np.unique(place, return_index=True)[1])[0]
        raise InputError(f"{path}: frame {frames[again]}: has landmark {column[again]} twice")
    points, visible = np.full((len(seen), _COUNT, 2), np.nan), np.zeros((len(seen), _COUNT))
    points[row, column] = values[:, [names.index("x"), names.index("y")]]
    visibility = next((names.index(name) for name in _VISIBILITY if name in names), None)
    visible[row, column] = 1.0 if visibility is None else values[:, visibility]
    return _detections(path, seen, points, visible)


def _refuse_repeated(path: Path, frames: np.ndarray) -> None:
    numbers, times = np.unique(frames, return_counts=True)
    for number in numbers[times > 1][:1]:
        raise InputError(f"{path}: frame {number:g}: occurs twice in the table")
