"""Read a CSV in which one column has all keypoints of a person, as Ultralytics' `to_csv` writes them.

A cell is a dict with one list for each axis, {'x': [...], 'y': [...], 'visible': [...]}, one list for each keypoint,
[[x, y, score], ...], or one list of all numbers. Commas may be missing, as in arrays of numpy. Other columns may have
the frame and the person.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data_contracts.errors import InputError
from data_contracts.parameters import KeypointFormat
from tasks.lifting.formats.detections import Detections
from tasks.lifting.formats.json_text import Person, detections_of

_LIST = re.compile(r"\[([^\[\]]*)\]")


def read_cells(path: Path, frames: Sequence[int], people: Sequence[int] | None, cells: Sequence[str]) -> Detections:
    """Return the people of `cells`, one text per row; `frames` and `people` have one number per row."""
    found = (
        Person(f"{path}: row {row}", frames[row], _points(path, row, text), id=None if people is None else people[row])
        for row, text in enumerate(cells)
        if text not in ("", "[]", "{}")
    )
    return detections_of(path, KeypointFormat.TABLE, found)


def _points(path: Path, row: int, text: str) -> list[Any]:
    """Return x, y and, if present, score of each keypoint, flat or one list per keypoint."""
    try:
        lists = [[float(number) for number in part.replace(",", " ").split()] for part in _LIST.findall(text)]
    except ValueError as error:
        raise InputError(f"{path}: row {row}: keypoints: expected lists of numbers, found {text[:50]!a}") from error
    if text.startswith("{") and len({*map(len, lists)}) == 1:
        lists = [list(row) for row in zip(*lists, strict=True)]
    return lists[0] if len(lists) == 1 else lists
