"""Read untrusted JSON with bounds on bytes, memory of the values, and depth, checked before parsing."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from data_contracts.errors import InputError

MOST_BYTES = 256 * 2**20  # 20 minutes of Halpe-136 at 30 fps
MOST_MEMORY = 2**30  # bytes of the Python objects of the JSON
MOST_DEPTH = 30  # nested lists and dicts; every format has at most 6

# Bytes of CPython's objects: an empty list with its slot in another list, a dict with space for five entries, a number
# with its slot, a dict entry beyond the fifth, a string.
_LIST, _DICT, _NUMBER, _ENTRY, _STRING = 88, 184, 40, 120, 60
_DICT_ENTRIES = 5
_CHUNK = 2**20
_STEPS = np.zeros(256, np.int8)  # change of the depth by character
_STEPS[[ord("["), ord("{")]], _STEPS[[ord("]"), ord("}")]] = 1, -1


def read_json(files: Sequence[Path], source: Path) -> list[Any]:
    """Return the value of each file; the bounds hold for all files together, which errors name `source`.

    Raises
    ------
    InputError
        A file cannot be read, is cut off, or is not JSON, or a bound is exceeded. NaN and Infinity are not JSON.
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
            raise InputError(f"{path}: is nested too deeply for keypoints: {depth} levels")
        trees.append(_parse(path, data))
    return trees


def _measure(data: bytes) -> tuple[int, int]:
    """Return the bytes of memory of the values of a JSON text, and its depth.

    Both follow from the numbers of brackets, commas and strings, in a tenth of the time of parsing.
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
        return json.loads(data.decode("utf-8-sig"), parse_constant=_refuse, parse_int=_integer)
    except RecursionError as error:  # unclosed strings can hide the depth
        raise InputError(f"{path}: is nested too deeply for keypoints") from error
    except ValueError as error:  # includes UnicodeDecodeError and JSONDecodeError
        reason = ascii(str(error)[:200])[1:-1]
        raise InputError(f"{path}: is not valid JSON, or is cut off ({reason})") from error


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _integer(text: str) -> int:
    if len(text) > 18:
        raise ValueError(f"a number of {len(text)} digits")
    return int(text)
