"""Read untrusted JSON, or JSON lines, and its people; bytes, memory and depth are bounded before parsing."""

import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import partial
from itertools import chain
from pathlib import Path
from types import NoneType
from typing import Any, NamedTuple

import numpy as np

from data_contracts.detector_skeletons import Detector
from data_contracts.errors import InputError
from data_contracts.parameters import KeypointFormat
from tasks.lifting.formats.detections import Detections

MOST_BYTES = 256 * 2**20  # 20 minutes of Halpe-136 at 30 fps
MOST_MEMORY = 2**30  # bytes of the Python objects of the JSON
MOST_DEPTH = 30  # nested lists and dicts; every format has at most 6

# Bytes of CPython's objects: an empty list with its slot in another list, a dict with space for five entries, a number
# with its slot, a dict entry beyond the fifth, a string.
_LIST, _DICT, _NUMBER, _ENTRY, _STRING = 88, 184, 40, 120, 60
_DICT_ENTRIES = 5
_CHUNK = 2**20
_MOST_DIGITS = 18  # every such integer fits into int64
_STEPS = np.zeros(256, np.int8)  # change of the depth by character
_STEPS[[ord("["), ord("{")]], _STEPS[[ord("]"), ord("}")]] = 1, -1


def read_json(files: Sequence[Path], source: Path) -> list[Any]:
    """Return the JSON value of each file; bounds apply to all files together, and `source` is their name in errors.

    Several values in one file (JSON lines) are returned as a list. NaN is read, because Python's `json` writes it for
    missing numbers; Infinity raises an InputError.
    """
    bytes_left, memory_left, trees = MOST_BYTES, MOST_MEMORY, []
    for path in files:
        try:
            with path.open("rb") as file:
                data = file.read(bytes_left + 1)
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror})") from error
        bytes_left -= len(data)
        if bytes_left < 0:
            raise InputError(f"{source}: is larger than {MOST_BYTES >> 20} MiB; cut the file into parts")
        memory, depth = _measure(data)
        memory_left -= memory
        if memory_left < 0:
            raise InputError(
                f"{source}: would take more than {MOST_MEMORY >> 20} MiB of memory; cut the file into parts"
            )
        if depth > MOST_DEPTH:
            raise InputError(f"{path}: is nested too deeply for keypoints: {depth} levels, at most {MOST_DEPTH}")
        tree = _parse(path, data)
        if _in_strings(tree):
            data = "\n".join(text.replace("\n", " ") for text in tree).encode("utf-8", "replace")
            if max(_measure(data)) > memory_left or _measure(data)[1] > MOST_DEPTH:
                raise InputError(f"{path}: JSON in strings would take too much memory; write each value as JSON")
            tree = _parse(path, data)
        trees.append(tree)
    return trees


def _in_strings(tree: Any) -> bool:
    """Return whether all values of a list are strings with JSON, e.g. a dumped list of `to_json` results."""
    return isinstance(tree, list) and bool(tree) and all(isinstance(text, str) and text[:1] in "[{" for text in tree)


def _measure(data: bytes) -> tuple[int, int]:
    """Return an estimate of the memory (bytes) of a parsed JSON text, and its depth.

    Both follow from the counts of brackets, commas and strings, in a tenth of the time of parsing.
    """
    data = data.replace(rb"\\", b"").replace(rb"\"", b"")  # every remaining quote begins or ends a string
    counts, in_string, level, depth, quoted = np.zeros(256, np.int64), 0, 0, 0, 0
    for start in range(0, len(data), _CHUNK):
        chunk = np.frombuffer(data, np.uint8, min(_CHUNK, len(data) - start), start)
        inside = (np.cumsum(chunk == ord('"'), dtype=np.int32) + in_string) & 1
        bare = chunk[inside == 0]
        counts += np.bincount(bare, minlength=256)
        levels = level + _STEPS[bare].cumsum(dtype=np.int32)
        depth = max(depth, int(levels.max(initial=0)))
        quoted += len(chunk) - len(bare)
        in_string, level = int(inside[-1]), int(levels[-1]) if len(levels) else level
    lists, dicts, keys, commas = (int(counts[ord(char)]) for char in "[{:,")
    memory = _LIST * lists + _DICT * dicts + _NUMBER * commas + quoted
    memory += _ENTRY * max(0, keys - _DICT_ENTRIES * dicts) + _STRING * max(0, int(counts[ord('"')]) - keys)
    return memory, depth


def _parse(path: Path, data: bytes) -> Any:
    try:
        text = data.decode("utf-8-sig")
        try:
            return _loads(path, text)
        except json.JSONDecodeError as error:
            if error.msg != "Extra data" or "\n" not in text[: error.pos]:
                raise
            return [_loads(path, line) for line in text.split("\n") if line.strip()]
    except RecursionError as error:  # unclosed strings can hide the depth
        raise InputError(f"{path}: is nested too deeply for keypoints") from error
    except InputError:
        raise
    except ValueError as error:  # includes UnicodeDecodeError and JSONDecodeError
        reason = ascii(str(error)[:200])[1:-1]
        raise InputError(f"{path}: is not valid JSON, or is cut off ({reason})") from error


def _loads(path: Path, text: str) -> Any:
    return json.loads(text, parse_constant=_constant, parse_int=partial(_integer, path))


def _constant(name: str) -> float:
    if name != "NaN":
        raise ValueError(f"{name} is not a JSON number")
    return float("nan")


def _integer(path: Path, text: str) -> int:
    if len(text) > _MOST_DIGITS:
        raise InputError(
            f"{path}: an integer has {len(text)} characters; at most {_MOST_DIGITS} are allowed, because keypoints,"
            " frame numbers and ids are smaller"
        )
    return int(text)


class Person(NamedTuple):
    """One person in one frame, with the values of an untrusted file."""

    source: str  # file and frame, for errors
    frame: int
    points: object  # x, y of each keypoint, or x, y, confidence if there are no `scores`; flat or one list per keypoint
    scores: object = None
    id: object = None


def detections_of(
    path: Path, format: KeypointFormat, people: Iterable[Person], skeleton: Detector | None = None
) -> Detections:
    """Return `people` as detections, with ids if all people have an id; invalid values raise an InputError."""
    frames: list[int] = []
    keypoints: list[np.ndarray] = []
    ids: list[int | None] = []
    for person in people:
        frames.append(person.frame)
        keypoints.append(_keypoints(person))
        ids.append(_id(person))
        if len(keypoints[-1]) != len(keypoints[0]):
            raise InputError(
                f"{person.source}: has {len(keypoints[-1])} keypoints, expected {len(keypoints[0])} as the first person"
            )
    if not frames:
        raise InputError(f"{path}: contains no people: no frame has a person")
    values = np.stack(keypoints)
    person_ids = None if None in ids else np.array(ids, np.int64)
    return Detections(
        str(path), format, np.array(frames, np.int64), values[..., :2], values[..., 2], person_ids, skeleton
    )


def _keypoints(person: Person) -> np.ndarray:
    """Return x, y, confidence of each keypoint (K, 3)."""
    points = _numbers(person.source, person.points)
    if person.scores is None:
        if points.size and points.size % 3 == 0 and (points.ndim == 1 or points.shape[1:] == (3,)):
            return points.reshape(-1, 3)
        if points.size and points.shape[1:] == (2,):
            return np.hstack([points, np.ones((len(points), 1))])
        raise InputError(f"{person.source}: has {points.size} numbers, expected x, y, confidence of each keypoint")
    scores = _numbers(person.source, person.scores).reshape(-1, 1)
    points = points.reshape(-1, 2) if points.ndim == 1 and points.size % 2 == 0 else points
    if not points.size or points.ndim != 2 or points.shape[1] not in (2, 3) or len(points) != len(scores):
        raise InputError(
            f"{person.source}: has {points.size} coordinates and {scores.size} scores, expected x, y and a score of"
            " each keypoint"
        )
    return np.hstack([points[:, :2], scores])


def _numbers(source: str, values: object) -> np.ndarray:
    """Return a nested list of numbers as an array; types are checked first, because numpy accepts text and true."""
    flat, is_list = [values], False
    while flat and all(type(value) is list for value in flat):
        flat, is_list = list(chain.from_iterable(flat)), True  # type: ignore[arg-type]
    if is_list and {*map(type, flat)} <= {int, float, type(None)}:
        with suppress(ValueError):  # lists of different lengths
            return np.array(values, np.float64)
    wrong = next((value for value in flat if type(value) not in (int, float, list, NoneType)), None)
    text = f"a list with {wrong!r}" if is_list and wrong else f"a {type(values).__name__}"
    text = text if isinstance(values, list | dict) else repr(values)
    raise InputError(f"{source}: expected a list of numbers, not {ascii(text[:50])[1:-1]}")


def whole_number(value: object) -> int | None:
    """Return `value` as an integer if it is whole, e.g. 3.0, else None."""
    is_whole = type(value) is int or (type(value) is float and value.is_integer() and abs(value) <= 2**53)
    return int(value) if is_whole else None  # type: ignore[call-overload]


def _id(person: Person) -> int | None:
    value = person.id
    while isinstance(value, list) and value:
        value = value[0]
    if value is None or value == -1 or value != value:  # OpenPose writes -1 if it does not track; NaN
        return None
    number = whole_number(value)
    if number is None or not 0 <= number <= 2**53:
        text = ascii(value)[:50]
        raise InputError(f"{person.source}: expected an integer from 0 to 2**53 as id of a person, not {text}")
    return number


def first_of(entry: Any, names: Sequence[str], kind: type = object) -> Any:
    """Return the value of the first field in `names` that is a `kind` and not null; None without such a field."""
    if not isinstance(entry, dict):
        return None
    values = (entry.get(name) for name in names)
    return next((value for value in values if value is not None and isinstance(value, kind)), None)


def is_points(value: Any) -> bool:
    """Return whether a value is a list of points: lists of numbers, dicts with x and y, or null (a missing point)."""
    if not isinstance(value, list):
        return False
    point = next((point for point in value if point is not None), None)
    if isinstance(point, dict):  # a person of Roboflow also has x and y: the middle of the box
        return ({"x", "y"} <= {*point} or "position" in point) and not any(type(x) is list for x in point.values())
    return isinstance(point, list) and 2 <= len(point) <= 4 and not any(isinstance(x, list | dict) for x in point)


def listed(points: Any) -> Any:
    """Return a dict of points by number, {"0": [x, y], ...}, as a list; return any other value unchanged."""
    if not isinstance(points, dict) or {*points} != {*map(str, range(len(points)))}:
        return points
    values = [points[str(place)] for place in range(len(points))]
    return values if is_points(values) else points


def is_row(point: Any, length: int) -> bool:
    """Return whether a value is a list of `length` numbers; null counts as a missing number."""
    return isinstance(point, list) and len(point) == length and not any(isinstance(x, list | dict | str) for x in point)
