"""MediaPipe's landmarks as people write them down: JSON by frames, or CSV; 33 of each person, as shares of the image.

- JSON: a list of frames (or `frames`, `landmarks`, `data` of a dict), a frame being its landmarks, a list of people's
  landmarks, or a dict with `landmarks` or `pose_landmarks` and, where known, `frame`; nobody is null, or an empty list.
  A landmark is `{"x": ..., "y": ..., "visibility": ...}`, or [x, y, z, visibility]. `fps`, `width` and `height` of the
  dict, where known. The landmarks of one image may stand in the place of the frames (or in `landmark`, as protobuf
  writes them).
- CSV, wide: a row for each frame, with a column `frame` where known, and x, y and visibility of each landmark by its
  number or name: `x0`, `x_0`, `0_x`, `nose_x`, `landmark_0_x`; numbers from 0 or 1; v or visibility.
- CSV, long: a row for each landmark: `frame`, `landmark` (or `landmark_id`, `index`, `id`), `x`, `y`, `visibility`.

A landmark of visibility 0, or of none at all, is missing. MediaPipe: pose landmarker.
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
from tasks.lifting.formats.detections import Detections, as_rows, known_number

_NAMES = SKELETONS[Detector.MEDIAPIPE33].keypoints
_COUNT = len(_NAMES)
_NUMBERED = {name: str(place) for place, name in enumerate(_NAMES)}
_LANDMARKS = ("landmarks", "pose_landmarks", "poseLandmarks", "landmark", "keypoints")
_LISTS = ("frames", "data", *_LANDMARKS)
_FRAME = ("frame", "frame_id", "frame_index", "frame_number", "frame_idx")
_LANDMARK = ("landmark", "landmark_id", "landmark_index", "index", "id")
_VISIBILITY = ("visibility", "v", "score", "confidence")
_MOST_COLUMNS = 1000
_MOST_CSV = 64 * 2**20  # bytes: an hour of 33 landmarks at 30 fps


def is_mediapipe(tree: object) -> bool:
    """Told by the first frame in which there is somebody."""
    first = next(
        (person for frame in _frames(tree) if isinstance(frame, list | dict) for person in _people(frame)), None
    )
    return isinstance(first, list) and len(first) == _COUNT and _is_landmark(first[0])


def read_mediapipe(path: Path, tree: object) -> list[Detections]:
    """The people of all frames of a JSON."""
    rows: list[Any] = []
    numbers: list[int] = []
    seen: set[int] = set()
    for place, frame in enumerate(_frames(tree)):
        number = next((frame[name] for name in _FRAME if name in frame), place) if isinstance(frame, dict) else place
        if type(number) is not int:
            raise InputError(f"{path}: frame {place} of the list: its number is no integer")
        if number in seen:
            raise InputError(f"{path}: frame {number}: stands twice in the list of frames")
        seen.add(number)
        if frame is not None and not isinstance(frame, list | dict):
            raise InputError(f"{path}: frame {number}: is no list of landmarks, but a {type(frame).__name__}")
        for person in _people(frame) if frame else ():
            if not isinstance(person, list) or len(person) != _COUNT or not all(map(_is_landmark, person)):
                raise InputError(f"{path}: frame {number}: landmarks: a person has {_COUNT} of them, with x and y")
            rows.append([_numbers(landmark) for landmark in person])
            numbers.append(max(-1, min(number, 2**60)))
    if not rows:
        raise InputError(f"{path}: nobody is seen in it: no frame has {_COUNT} landmarks")
    values = as_rows(rows, str(path), numbers, "landmarks")
    found = _detections(path, np.array(numbers, dtype=np.int64), values[..., :2], values[..., 2])
    about = tree if isinstance(tree, dict) else {}
    fps, *size = (known_number(path, name, about.get(name)) for name in ("fps", "width", "height"))
    width, height = (None if side is None else int(side) for side in size)
    return [replace(found, fps=fps, width=width, height=height)]


def read_landmark_table(path: Path) -> list[Detections]:
    """The one person of a CSV, wide or long."""
    names, values = _read_csv(path)
    lowered = [name.strip().lower() for name in names]
    number = next((lowered.index(name) for name in _FRAME if name in lowered), None)
    frames = np.arange(len(values), dtype=float) if number is None else values[:, number]
    if not (np.isfinite(frames) & (frames == np.round(frames)) & (np.abs(frames) < 2**53)).all():
        raise InputError(f"{path}: column {names[number or 0]}: has a frame that is no integer")
    landmark = next((lowered.index(name) for name in _LANDMARK if name in lowered), None)
    if landmark is not None and {"x", "y"} <= {*lowered}:
        return [_long_table(path, lowered, values, frames.astype(np.int64), values[:, landmark])]
    places = _wide_columns(lowered)
    missing = [f"{axis} of {_NAMES[index]}" for index in range(_COUNT) for axis in "xy" if (index, axis) not in places]
    if missing:
        raise InputError(f"{path}: has no column for {missing[0]}: x and y of {_COUNT} landmarks are wanted")
    _refuse_repeated(path, frames)
    x, y = (values[:, [places[index, axis] for index in range(_COUNT)]] for axis in "xy")
    is_told = all((index, "v") in places for index in range(_COUNT))
    visible = values[:, [places[index, "v"] for index in range(_COUNT)]] if is_told else np.ones_like(x)
    return [_detections(path, frames.astype(np.int64), np.stack([x, y], axis=-1), visible)]


def _detections(path: Path, frame: np.ndarray, points: np.ndarray, confidence: np.ndarray) -> Detections:
    return Detections(str(path), KeypointFormat.MEDIAPIPE, frame, points, confidence, skeleton=Detector.MEDIAPIPE33)


def _frames(tree: object) -> list[Any]:
    if isinstance(tree, dict):
        tree = next((tree[name] for name in _LISTS if isinstance(tree.get(name), list)), None)
    if not isinstance(tree, list):
        return []
    return [tree] if tree and _is_landmark(tree[0]) else tree  # of one image


def _people(frame: list[Any] | dict[str, Any]) -> list[Any]:
    """Of a frame: the lists of landmarks in it."""
    if isinstance(frame, dict):
        frame = next((frame[name] for name in _LANDMARKS if isinstance(frame.get(name), list)), [])
    return [frame] if frame and _is_landmark(frame[0]) else list(frame)


def _is_landmark(value: object) -> bool:
    if isinstance(value, dict):
        return "x" in value and "y" in value
    return isinstance(value, list) and len(value) == 4 and not isinstance(value[0], list | dict)


def _numbers(landmark: dict[str, Any] | list[Any]) -> list[Any]:
    """x, y, visibility."""
    if isinstance(landmark, list):
        return [landmark[0], landmark[1], landmark[3]]
    return [landmark["x"], landmark["y"], next((landmark[name] for name in _VISIBILITY if name in landmark), 1.0)]


def _read_csv(path: Path) -> tuple[list[str], np.ndarray]:
    """Names of the columns, and (rows, columns) numbers; NaN where a field is empty or a landmark's name."""
    if path.stat().st_size > _MOST_CSV:
        raise InputError(f"{path}: is larger than {_MOST_CSV >> 20} MiB; cut it into parts")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = (row for row in csv.reader(file) if row)
            names = next(rows, [])
            if not 0 < len(names) <= _MOST_COLUMNS:
                raise InputError(f"{path}: is no CSV with a line of names and up to {_MOST_COLUMNS} columns")
            values = array("d")  # 8 bytes a number, where its text takes 60
            for line, row in enumerate(rows, start=2):
                values.extend(_row(path, line, row, names))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: is no CSV ({ascii(str(error)[:200])[1:-1]})") from error
    if not values:
        raise InputError(f"{path}: is no CSV with a line of names and a row of numbers")
    return names, np.frombuffer(values).reshape(-1, len(names))


def _row(path: Path, line: int, row: list[str], names: list[str]) -> Iterator[float]:
    if len(row) != len(names):
        raise InputError(f"{path}: line {line}: has {len(row)} fields, and {len(names)} columns have names")
    for name, field in zip(names, row, strict=True):
        text = field.strip()
        try:
            yield float(_NUMBERED.get(text.lower(), text) or "nan")
        except ValueError as error:
            shown = ascii(text[:50])
            raise InputError(f"{path}: line {line}: {name[:50]}: {shown} is no number") from error


def _wide_columns(names: list[str]) -> dict[tuple[int, str], int]:
    """(landmark, axis) -> column."""
    axes = {"x": "x", "y": "y", **dict.fromkeys(_VISIBILITY, "v")}
    found: dict[tuple[int, str], int] = {}
    for column, name in enumerate(names):
        ending = re.fullmatch(r"(?:landmark_?)?(.+?)_(x|y|v|visibility|score|confidence)", name)
        begin = re.fullmatch(r"(x|y|v|visibility|score|confidence)_?(\d+)", name)
        landmark, axis = ending.groups() if ending else (begin.group(2), begin.group(1)) if begin else ("", "")
        if landmark in _NAMES:
            found[_NAMES.index(landmark), axes[axis]] = column
        elif re.fullmatch(r"\d{1,2}", landmark):
            found[int(landmark), axes[axis]] = column
    from_one = (_COUNT, "x") in found and (0, "x") not in found
    return {(index - 1, axis): column for (index, axis), column in found.items()} if from_one else found


def _long_table(
    path: Path, names: list[str], values: np.ndarray, frames: np.ndarray, landmarks: np.ndarray
) -> Detections:
    if not np.isin(landmarks, np.arange(_COUNT)).all():
        line = int(np.flatnonzero(~np.isin(landmarks, np.arange(_COUNT)))[0]) + 2
        raise InputError(f"{path}: line {line}: landmark: is none of 0 to {_COUNT - 1}, and none of their names")
    seen, row = np.unique(frames, return_inverse=True)
    column = landmarks.astype(int)
    place = row * _COUNT + column
    if len(np.unique(place)) < len(place):
        again = np.setdiff1d(np.arange(len(place)), np.unique(place, return_index=True)[1])[0]
        raise InputError(f"{path}: frame {frames[again]}: has landmark {column[again]} twice")
    points, visible = np.full((len(seen), _COUNT, 2), np.nan), np.zeros((len(seen), _COUNT))
    points[row, column] = values[:, [names.index("x"), names.index("y")]]
    told = next((names.index(name) for name in _VISIBILITY if name in names), None)
    visible[row, column] = 1.0 if told is None else values[:, told]
    return _detections(path, seen, points, visible)


def _refuse_repeated(path: Path, frames: np.ndarray) -> None:
    numbers, times = np.unique(frames, return_counts=True)
    for number in numbers[times > 1][:1]:
        raise InputError(f"{path}: frame {number:g}: stands twice in the table")
