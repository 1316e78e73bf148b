"""Convert the people in the JSON of a detector to detections."""

from collections.abc import Iterable
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data_contracts.detector_skeletons import Detector
from data_contracts.errors import InputError
from data_contracts.parameters import KeypointFormat
from tasks.lifting.formats.detections import Detections


class Person(NamedTuple):
    """One person in one frame, with the values of an untrusted file.

    Attributes
    ----------
    source
        File and frame, for errors.
    points
        x, y of each keypoint, or x, y, confidence if there are no `scores`; flat or one list per keypoint.
    id
        The detector's id of the person, or None.
    """

    source: str
    frame: int
    points: object
    scores: object = None
    id: object = None


def detections_of(
    path: Path, format: KeypointFormat, people: Iterable[Person], skeleton: Detector | None = None
) -> Detections:
    """Return the detections of people; ids are used if all people have one.

    Raises
    ------
    InputError
        There are no people, or a person has an invalid id, a value that is not a number, or another number of keypoints
        than the first person.
    """
    frames: list[int] = []
    keypoints: list[np.ndarray] = []
    ids: list[int | None] = []
    for person in people:
        frames.append(person.frame)
        keypoints.append(_keypoints(person))
        ids.append(_id(person))
        if len(keypoints[-1]) != len(keypoints[0]):
            raise InputError(
                f"{person.source}: has {len(keypoints[-1])} keypoints, expected {len(keypoints[0])} as in the first"
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
    """Return a list of numbers, which may be nested; types are checked first, because numpy copies texts and true."""
    flat, is_list = [values], False
    while flat and all(type(value) is list for value in flat):
        flat, is_list = list(chain.from_iterable(flat)), True  # type: ignore[arg-type]
    if is_list and {*map(type, flat)} <= {int, float}:
        with suppress(ValueError):  # lists of different lengths
            return np.array(values, np.float64)
    text = f"a {type(values).__name__}" if isinstance(values, list | dict) else repr(values)
    raise InputError(f"{source}: expected a list of numbers, not {ascii(text[:50])[1:-1]}")


def _id(person: Person) -> int | None:
    value = person.id
    while isinstance(value, list) and value:
        value = value[0]
    if value is None or value == -1:  # OpenPose writes -1 if it does not track
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 2**53 or value != int(value):
        raise InputError(f"{person.source}: expected an integer from 0 as id of a person")
    return int(value)
