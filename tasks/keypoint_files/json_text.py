"""JSON from a stranger: bounded in size and in what it makes, no NaN, no infinity, and errors that name the place."""

import json
from pathlib import Path
from typing import Any, NoReturn

from data_contracts.errors import InputError

MOST_BYTES = 256 * 2**20  # 20 minutes of Halpe-136 at 30 fps
_BYTES_OF_A_LIST = 6  # a list or dict takes 64 bytes, `[0,0],` has six; 1,000 of them are free


def read_json(path: Path) -> Any:
    """What a JSON file holds.

    Raises
    ------
    InputError
        It cannot be read, is too large or too deep, is cut off, or is no JSON, as with NaN or infinity in it.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    if len(data) > MOST_BYTES:
        raise InputError(f"{path}: is larger than {MOST_BYTES >> 20} MiB; cut it into parts")
    if data.count(b"[") + data.count(b"{") > 1000 + len(data) // _BYTES_OF_A_LIST:
        raise InputError(f"{path}: is made of empty lists rather than of numbers")
    try:
        return json.loads(data.decode("utf-8-sig"), parse_constant=_refuse, parse_int=_integer)
    except RecursionError as error:
        raise InputError(f"{path}: is nested too deeply for keypoints") from error
    except ValueError as error:  # UnicodeDecodeError and JSONDecodeError are
        reason = ascii(str(error)[:200])[1:-1]
        raise InputError(f"{path}: is no JSON, or is cut off ({reason})") from error


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _integer(text: str) -> int:
    if len(text) > 18:
        raise ValueError(f"a number of {len(text)} digits")
    return int(text)
