"""Read tables of keypoints in CSV: MediaPipe's landmarks, COCO's keypoints, and DeepLabCut.

- Wide: one row per person and frame, with x, y and a confidence of each keypoint by name or number: `nose_x`,
  `leftShoulderX`, `x_nose`, `x0`, `x_0`, `0_x`, `L0_x`, `landmark_0_x`; numbers start at 0 or 1.
- Long: one row per keypoint: `frame`, `landmark` (or `LandmarkID`, `index`, `joint`, ...), `x`, `y`, `visibility`.
- Both have optional columns for the frame (a number or the name of an image) and the person. Other columns are ignored.
- DeepLabCut: rows scorer, individuals (optional), bodyparts and coords above the numbers.

A keypoint is missing if a field is empty, nan or null, or its confidence is 0.
"""

import csv
import re
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from data_contracts.detector_skeletons import SKELETONS, Detector
from data_contracts.errors import InputError, some
from data_contracts.parameters import KeypointFormat
from tasks.lifting.formats.detections import Detections
from tasks.lifting.formats.json_frames import FRAME, ID, IMAGE, POINTS, VISIBILITY
from tasks.lifting.formats.names import frame_numbers, keypoint_name, skeleton_of_names
from tasks.lifting.formats.table_cells import read_cells

DELIMITERS = ",;\t"
_MOST_BYTES = 64 * 2**20  # an hour of 33 landmarks at 30 fps
_MOST_COLUMNS = 3002  # 1000 markers
_OF_LANDMARK = ("landmark", "keypoint", "joint", "bodypart", "part", "kpt", "kp", "point", "node", "marker")
_ENDS = ("", "id", "idx", "index", "num", "name")
_LANDMARK = (*(word + end for word in _OF_LANDMARK for end in _ENDS), "idx", "index", "id", "name")
_PERSON = (*ID, "person_idx", "individual", "subject", "tracker_id")
_AXES = {"x": "x", "y": "y", **dict.fromkeys((*VISIBILITY, "vis", "c", "p", "prob", "presence"), "v")}
_UNITS = ("px", "pixel", "pixels", "norm", "normalized", "normalised", "pos", "position", "coord", "coordinate")
_MISSING = ("", "none", "null", "na", "n/a", "nan")
_SEVERAL_PEOPLE = "; for several people, use a CSV with a person column (e.g. person_idx) with an id in every row"
_COUNTS = sorted({len(skeleton.keypoints) for skeleton in SKELETONS.values()} - {136})
Key = str | tuple[str, int]  # name of a keypoint, or the text before its number and the number
Columns = dict[tuple[Key, str], int]  # (keypoint, axis x, y or v) -> column


def read_csv(path: Path) -> Detections:
    """Return the people of a CSV; a damaged or unknown table raises an InputError."""
    with rows_of(path, delimiter=_delimiter(path)) as rows:
        names, individuals = _header(rows)
        groups = [_wide_columns(names, individuals, one) for one in dict.fromkeys(individuals)]
        is_wide = bool(groups) and sum(axis == "x" for _, axis in groups[0]) > 1
        bare = {} if is_wide else _bare_axes(names)
        landmark = _column(names, _LANDMARK) if {"x", "y"} <= {*bare} else None
        cells = None if is_wide or landmark is not None else _column(names, POINTS)
        skeleton, keypoints = _keypoints_of(path, names, groups) if landmark is None and cells is None else (None, [])
        frame, person = _column(names, (*FRAME, *IMAGE)), _column(names, _PERSON)
        used = {*bare.values()} if landmark is not None else {column for group in groups for column in group.values()}
        texts = {column for column in (frame, person, landmark, cells) if column is not None}
        numbers, words = read_rows(path, rows, len(names), used - texts, texts)
    frames = _frames(path, words[frame]) if frame is not None else np.arange(len(numbers))
    people = None if person is None else _people(words[person])
    if cells is not None:
        return read_cells(path, frames.tolist(), None if people is None else people.tolist(), words[cells])
    if landmark is not None:
        return _long(path, frames, people, words[landmark], numbers, bare)
    return _wide(path, frames, people, numbers, groups, skeleton, keypoints)


@contextmanager
def rows_of(path: Path, **dialect: Any) -> Iterator[Any]:
    """Open a table and yield the reader of its rows; a damaged table raises an InputError."""
    if path.stat().st_size > _MOST_BYTES:
        raise InputError(f"{path}: is larger than {_MOST_BYTES >> 20} MiB; cut the file into parts")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield csv.reader(file, **dialect)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: is not a table in UTF-8 ({ascii(str(error)[:200])[1:-1]}); save it again") from error


def whole_numbers(path: Path, values: np.ndarray) -> np.ndarray:
    """Return frame numbers as integers; raise an InputError for other numbers."""
    if not (np.isfinite(values) & (values == np.round(values)) & (np.abs(values) < 2**53)).all():
        raise InputError(f"{path}: Frame#: expected an integer as frame number in every row")
    return values.astype(np.int64)


def refuse_repeated(path: Path, frames: np.ndarray) -> None:
    """Raise an InputError if a frame occurs twice."""
    numbers, times = np.unique(frames, return_counts=True)
    for number in numbers[times > 1][:1]:
        raise InputError(f"{path}: frame {number}: occurs twice{_SEVERAL_PEOPLE}")


def _delimiter(path: Path) -> str:
    with path.open("rb") as file:
        first = file.readline(2**16)
    return max(DELIMITERS, key=lambda delimiter: first.count(delimiter.encode()))


def _header(rows: Any) -> tuple[list[str], list[str]]:
    """Return the name and the individual of each column; the individual is "" if the table has none."""
    names: list[str] = next((row for row in rows if row), [])
    if not names or names[0].strip().lower() != "scorer":
        return names, [""] * len(names)
    rows_above = {"scorer": names}
    for row in islice(rows, 3):  # of DeepLabCut
        rows_above[row[0].strip().lower() if row else ""] = row
        if row and row[0].strip().lower() == "coords":
            break
    parts, axes = rows_above.get("bodyparts", []), rows_above.get("coords", [])
    named = [f"{part}_{axis}" if part else "" for part, axis in zip(parts, axes, strict=False)]
    individuals = [*rows_above.get("individuals", []), *[""] * (len(named) + 2)]  # the row may be missing or short
    first = next((column for column in range(1, len(named)) if named[column]), 1)  # after one or three index columns
    return [*named[1:first], "frame", *named[first:]], [*[individuals[first]] * first, *individuals[first : len(named)]]


def _column(names: Sequence[str], wanted: Sequence[str]) -> int | None:
    """Return the first column with one of these names, in any spelling."""
    plain = ["".join(_words(name)) for name in names]
    return next((plain.index(name.replace("_", "")) for name in wanted if name.replace("_", "") in plain), None)


def _words(name: str) -> list[str]:
    """Return the words and numbers of a name, without units: L0_x -> l, 0, x."""
    words = re.findall(r"[a-z]+|\d+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name[:100]).lower())
    return [word for word in words if word not in _UNITS] or words


def _bare_axes(names: Sequence[str]) -> dict[str, int]:
    """Return the columns whose names are only x, y or a confidence."""
    words = [_words(name) for name in names]
    return {_AXES[word[0]]: column for column, word in enumerate(words) if len(word) == 1 and word[0] in _AXES}


def _wide_columns(names: Sequence[str], individuals: Sequence[str], individual: str) -> Columns:
    """Return the column of each keypoint and axis of an individual."""
    columns: Columns = {}
    for column, name in enumerate(names):
        words = _words(name)
        if len(words) < 2 or individuals[column : column + 1] != [individual]:
            continue
        at = -1 if words[-1] in _AXES else 0
        axis, rest = _AXES.get(words[at]), words[:-1] if at else words[1:]
        keypoint: Key | None = keypoint_name("".join(rest))
        if keypoint is None and rest[-1].isdigit() and len(rest[-1]) < 4:
            keypoint = (" ".join(rest[:-1]), int(rest[-1]))
        if axis and keypoint:
            columns.setdefault((keypoint, axis), column)
    return columns


def _keypoints_of(path: Path, names: Sequence[str], groups: list[Columns]) -> tuple[Detector | None, list[Key]]:
    """Return the skeleton (None: not MediaPipe's, with numbers only), and the key of each keypoint ("": absent)."""
    columns = groups[0]
    complete = {key for key, axis in columns if axis == "x" and (key, "y") in columns}
    if found := skeleton_of_names([key for key in complete if isinstance(key, str)]):
        return found[0], [*found[1]]
    numbers: dict[str, list[int]] = {}
    for key in complete:
        if not isinstance(key, str):
            numbers.setdefault(key[0], []).append(key[1])
    for before, found_numbers in sorted(numbers.items(), key=lambda item: -len(item[1])):
        first, count = min(found_numbers), len(found_numbers)
        if count in _COUNTS and first in (0, 1) and max(found_numbers) == first + count - 1:
            is_mediapipe = count == len(SKELETONS[Detector.MEDIAPIPE33].keypoints)
            keys: list[Key] = [(before, number) for number in sorted(found_numbers)]
            return Detector.MEDIAPIPE33 if is_mediapipe else None, keys
    seen = some([ascii(name[:30]) for name in names])
    if all(name.strip("+-.0123456789e ") == "" for name in names):
        raise InputError(f"{path}: has no header with names of columns, e.g. nose_x; the first line is {seen}")
    raise InputError(
        f"{path}: has no columns for x and y of all keypoints of MediaPipe (33), COCO (17) or another known skeleton;"
        f" name the columns nose_x or x_0 (now {len(complete)} keypoints have x and y; columns: {seen})"
    )


def read_rows(
    path: Path, rows: Any, count: int, numeric: set[int], texts: set[int]
) -> tuple[np.ndarray, dict[int, list[str]]]:
    """Return the remaining rows: numbers (rows, `count`), NaN except in columns `numeric`, and the columns `texts`."""
    if not 0 < count <= _MOST_COLUMNS:
        raise InputError(f"{path}: has {count} columns, expected 1 to {_MOST_COLUMNS}")
    values = array("d")  # 8 bytes per number; a Python string takes 60
    words: dict[int, list[str]] = {column: [] for column in texts}
    known: dict[str, str] = {}  # equal texts are one string
    for row in rows:
        if len(row) != count and not any(map(str.strip, row)):  # a blank line
            continue
        if len(row) == count + 1 and not row[-1].strip():
            row.pop()
        if len(row) != count:
            raise InputError(f"{path}: line {rows.line_num}: has {len(row)} fields, expected {count} as in the header")
        for column, field in enumerate(row):
            text = field.strip()
            if column in texts:
                words[column].append(known.setdefault(text, text))
            try:
                is_number = column in numeric and text.lower() not in _MISSING
                number = text if rows.dialect.delimiter == "," else text.replace(",", ".")  # a decimal comma
                values.append(float(number) if is_number else np.nan)
            except ValueError as error:
                raise InputError(f"{path}: line {rows.line_num}: {text[:50]!a} is not a number") from error
    if not values:
        raise InputError(f"{path}: is cut off: expected a header and at least one row of numbers")
    return np.frombuffer(values).reshape(-1, count), words


def _frames(path: Path, texts: Sequence[str]) -> np.ndarray:
    """Return the frame number of each row, from a number or from the name of an image."""
    try:
        values = np.array([float(text or "nan") for text in texts])
    except ValueError:
        return np.array(frame_numbers(path, texts), np.int64)
    return whole_numbers(path, values)


def _people(texts: Sequence[str]) -> np.ndarray | None:
    """Return a number for each person, or None if a row has no person."""
    if any(text.lower() in (*_MISSING, "-1") for text in texts):
        return None
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(text, len(numbers)) for text in texts], np.int64)


def _wide(
    path: Path,
    frames: np.ndarray,
    people: np.ndarray | None,
    numbers: np.ndarray,
    groups: Sequence[Columns],
    skeleton: Detector | None,
    keypoints: Sequence[Key],
) -> Detections:
    """Return the people of a table with all keypoints of a person in one row; `groups` has the columns per person."""
    rows = np.hstack([numbers, np.full((len(numbers), 1), np.nan), np.ones((len(numbers), 1))])
    absent, certain = numbers.shape[1], numbers.shape[1] + 1
    places = [
        [[columns.get((key, axis), certain if axis == "v" else absent) for axis in "xyv"] for key in keypoints]
        for columns in groups
    ]
    values = np.concatenate([rows[:, place] for place in np.array(places)])  # (groups * rows, K, 3)
    if len(groups) > 1:
        people, frames = np.repeat(np.arange(len(groups)), len(frames)), np.tile(frames, len(groups))
    elif people is None and skeleton is Detector.MEDIAPIPE33:
        refuse_repeated(path, frames)
    return _detections(path, frames, people, values, skeleton)


def _long(
    path: Path,
    frames: np.ndarray,
    people: np.ndarray | None,
    landmarks: Sequence[str],
    numbers: np.ndarray,
    axes: dict[str, int],
) -> Detections:
    """Return the people of a table with one row per keypoint."""
    skeleton, places = _landmark_places(path, landmarks)
    count = len(SKELETONS[skeleton].keypoints) if skeleton else next(n for n in _COUNTS if n > max(places.values()))
    place = np.array([places[text] for text in landmarks])
    who = np.zeros(len(frames), np.int64) if people is None else people
    cells, times = np.unique(np.stack([frames, who, place], axis=1), axis=0, return_counts=True)
    for frame, _, landmark in cells[times > 1][:1]:
        raise InputError(f"{path}: frame {frame}: one person has landmark {landmark} twice{_SEVERAL_PEOPLE}")
    seen, row = np.unique(np.stack([frames, who], axis=1), axis=0, return_inverse=True)
    values = np.full((len(seen), count, 3), np.nan)
    columns = [axes["x"], axes["y"]]
    values[row, place, :2] = numbers[:, columns]
    values[row, place, 2] = numbers[:, axes["v"]] if "v" in axes else 1.0
    return _detections(path, seen[:, 0], None if people is None else seen[:, 1], values, skeleton)


def _landmark_places(path: Path, landmarks: Sequence[str]) -> tuple[Detector | None, dict[str, int]]:
    """Return the skeleton, or None for numbers that are not MediaPipe's, and the index of each landmark."""
    texts = [*dict.fromkeys(landmarks)]
    if found := skeleton_of_names(texts):
        skeleton, keypoints = found
        places = {name: place for place, name in enumerate(keypoints) if name}
        if {*places} == {*texts}:
            return skeleton, places
    numbers = {text: int(text) for text in texts if text.isascii() and text.isdigit() and len(text) < 4}
    first = 0 if 0 in numbers.values() else min(numbers.values(), default=0)
    most = max(numbers.values(), default=0) - first + 1
    if len(numbers) < len(texts) or first > 1 or most > _COUNTS[-1]:
        bad = next((text for text in texts if text not in numbers or not first <= numbers[text] <= _COUNTS[-1]), "")
        raise InputError(
            f"{path}: landmark: {bad[:40]!a}: expected a number from 0 to {_COUNTS[-1] - 1} or a landmark's name"
        )
    is_mediapipe = most > _COUNTS[-2]
    return Detector.MEDIAPIPE33 if is_mediapipe else None, {text: number - first for text, number in numbers.items()}


def _detections(
    path: Path, frames: np.ndarray, people: np.ndarray | None, values: np.ndarray, skeleton: Detector | None
) -> Detections:
    is_mediapipe = skeleton is Detector.MEDIAPIPE33
    format = KeypointFormat.MEDIAPIPE if is_mediapipe else KeypointFormat.TABLE
    return Detections(str(path), format, frames, values[..., :2], values[..., 2], people, skeleton)
