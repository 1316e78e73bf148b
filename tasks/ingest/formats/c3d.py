"""Read C3D files: markers over time, in the binary format of motion capture laboratories (c3d.org, user guide).

This reader replaces ezc3d, which crashes the interpreter on most damaged files. It checks each size against the file
before it allocates, and numpy reads all frames at once. Analog channels are skipped.
"""

import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from data_contracts.errors import InputError
from tasks.ingest.formats.axes import MetricTree, OnArray
from tasks.ingest.formats.markers import Markers, read_markers

_BLOCK = 512
_ORDERS = {84: "<", 86: ">"}  # processor type -> byte order: Intel and MIPS
_TYPES = {-1: "S1", 1: "u1", 2: "i2", 4: "f4"}
_MOST_FRAMES_OF_HEADER = 65_535  # 16 bits

Parameters = Mapping[str, np.ndarray]  # by GROUP:NAME


def read_c3d(path: Path, on_array: OnArray) -> MetricTree:
    """Read a C3D file in the byte order of Intel or MIPS, with integers or floats.

    A damaged file raises an InputError with the byte offset. `read_markers` describes the result and `on_array`, and
    has more errors.
    """
    with path.open("rb") as file:
        header = file.read(_BLOCK)
        place = (header[0] - 1) * _BLOCK
        file.seek(max(place, 0))
        section = file.read(255 * _BLOCK)
        if len(header) < _BLOCK or len(section) < 4 or place < _BLOCK or (order := _ORDERS.get(section[3])) is None:
            raise InputError(
                f"{path}: byte {place}: expected a parameter section of a C3D file in the byte order of Intel or MIPS;"
                " save the file again, e.g. with Mokka"
            )
        parameters = _parameters(path, section[: section[2] * _BLOCK or None], order, place)
        points, analog, first, last = struct.unpack_from(f"{order}4H", header, 2)
        (scale,) = struct.unpack_from(f"{order}f", header, 12)
        (data,) = struct.unpack_from(f"{order}H", header, 16)
        (rate,) = struct.unpack_from(f"{order}f", header, 20)
        start = (data - 1) * _BLOCK
        kind = np.dtype(f"{order}f4" if scale < 0 else f"{order}i2")
        width = 4 * points + analog
        left = path.stat().st_size - start
        frames = last - first + 1
        if last == _MOST_FRAMES_OF_HEADER and points:
            frames = left // (width * kind.itemsize)  # more frames than the header can count, or exactly as many
        if not start > 0 or frames < 1 or not points or frames * width * kind.itemsize > left:
            raise InputError(
                f"{path}: byte 2: {frames} frames of {points} markers are declared, but {max(left, 0)} bytes follow at"
                f" byte {start}; export the file again"
            )
        file.seek(start)
        values = np.fromfile(file, kind, frames * width).reshape(frames, width)[:, : 4 * points]
    if not 0 < rate <= 1000:
        raise InputError(f"{path}: byte 20: the frame rate is {rate:g}; correct it to above 0 and at most 1000")
    values = values.reshape(frames, points, 4).astype(np.float32)
    known = (values[..., 3] >= 0) & np.isfinite(values).all(axis=-1)
    places = np.where(known[..., None], values[..., :3] * (1 if scale < 0 else scale), np.nan)
    names = [name for key in ("LABELS", "LABELS2", "LABELS3") for name in _texts(parameters.get(f"POINT:{key}"))]
    names = [*names, *("" for _ in range(points - len(names)))][:points]
    unit = next(iter(_texts(parameters.get("POINT:UNITS"))), "").lower()
    up = next(iter(_texts(parameters.get("POINT:Y_SCREEN"))), "").lower().removeprefix("+")
    likely_up = up if up in ("y", "z") else "z"
    return read_markers(path, Markers("C3D", tuple(names), places, float(rate), unit, likely_up), on_array)


def _parameters(path: Path, section: bytes, order: str, place: int) -> Parameters:
    """Return the parameters of a section that begins at byte `place` of the file."""
    groups: dict[int, str] = {}
    found: dict[tuple[int, str], np.ndarray] = {}
    at = 4
    try:
        while at < len(section) and (length := abs(struct.unpack_from("b", section, at)[0])):
            number = struct.unpack_from("b", section, at + 1)[0]
            name = section[at + 2 : at + 2 + length].decode("latin-1").upper()
            content = at + 2 + length
            (step,) = struct.unpack_from(f"{order}H", section, content)
            if number < 0:
                groups[-number] = name
            else:
                found[number, name] = _value(section, content + 2, order)
            if not step:
                break
            at = content + step
    except (struct.error, ValueError, KeyError, IndexError) as error:
        raise InputError(
            f"{path}: byte {place + at}: a damaged parameter of a C3D file ({error}); save the file again with Mokka"
        ) from error
    return {f"{groups.get(number, '')}:{name}": value for (number, name), value in found.items()}


def _value(section: bytes, at: int, order: str) -> np.ndarray:
    """Return the parameter at byte `at` as an array in Fortran order; the first axis of text has the characters."""
    kind, axes = struct.unpack_from("bB", section, at)
    shape = tuple(section[at + 2 : at + 2 + axes])
    count = int(np.prod(shape, dtype=np.int64)) if len(shape) <= 7 else len(section)
    if count * abs(kind) > len(section) - at - 2 - axes:
        raise ValueError(f"an array {shape} is larger than its section")
    return np.frombuffer(section, np.dtype(f"{order}{_TYPES[kind]}"), count, at + 2 + axes).reshape(shape, order="F")


def _texts(value: np.ndarray | None) -> list[str]:
    """Return the strings of a text parameter, without padding."""
    if value is None or value.dtype.kind != "S" or not value.size:
        return []
    rows = value.reshape(value.shape[0] if value.ndim else 1, -1, order="F").T
    return [b"".join(row).decode("latin-1").strip(" \0") for row in rows.tolist()]
