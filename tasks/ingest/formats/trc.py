"""Read TRC files: markers or joint centres over time, as text with tabs.

Line 1: file type. Lines 2 and 3: names and values of the header (DataRate, NumFrames, Units, ...). Line 4: Frame#,
Time, and the name of each marker above its three columns. Line 5: X1 Y1 Z1 ... Then one row per frame, after an
optional empty line. A field that is empty or nan is a missing marker.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from data_contracts.errors import InputError
from tasks.ingest.formats.axes import MetricTree, OnArray
from tasks.ingest.formats.markers import Markers, read_markers
from tasks.ingest.formats.numbers import read_rows

_LONGEST_LINE = 200_000  # of the header: names of 5,000 markers
_HEADER = 5  # lines
_EMPTY = re.compile(r"(?<=\t)(?=[\t\r\n])")


def read_trc(path: Path, on_array: OnArray) -> MetricTree:
    """Read a TRC file; a damaged file raises an InputError with the line; for the result see `read_markers`."""
    with path.open(encoding="latin-1") as file:
        lines = [file.readline(_LONGEST_LINE).rstrip("\r\n").split("\t") for _ in range(_HEADER)]
        about = {name.strip(): value.strip() for name, value in zip(lines[1], lines[2], strict=False)}
        unit = about.get("Units", "").lower()
        if unit in ("px", "pixel", "pixels"):
            raise InputError(f"{path}: line 3: Units are pixels, so these are 2D keypoints; pass them to `uplift lift`")
        fps, frames = (_number(path, about, name) for name in ("DataRate", "NumFrames"))
        names = [name.strip() for name in lines[3][2::3]]
        while names and not names[-1]:
            names.pop()
        if not names:
            raise InputError(f"{path}: line 4: expected Frame#, Time and the name of each marker above three columns")
        rows = read_rows(path, _filled(file, 2 + 3 * len(names)), int(frames), 2 + 3 * len(names), _HEADER, "\t")
    points = rows[:, 2:].reshape(len(rows), len(names), 3)
    return read_markers(path, Markers("TRC", tuple(names), points, fps, unit, likely_up="y"), on_array)


def _number(path: Path, about: dict[str, str], name: str) -> float:
    try:
        value = float(about.get(name, ""))
    except ValueError:
        value = 0.0
    if not 0 < value < 1e9 or (name == "DataRate" and value > 1000):
        bound = "1000" if name == "DataRate" else "1e9"
        raise InputError(f"{path}: line 3: {name} is {about.get(name, '')[:20]!a}; expected 0 < {name} <= {bound}")
    return value


def _filled(file: IO[str], columns: int) -> Iterator[str]:
    """Yield the rows of the frames, filled up to `columns` fields, with nan in empty fields."""
    for line in file:
        row = line.rstrip()
        if row:
            row += "\t" * (columns - 1 - row.count("\t"))
            yield _EMPTY.sub("nan", f"{row}\n")
