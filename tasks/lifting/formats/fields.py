"""Read numbers in the fields of untrusted files."""

from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from data_contracts.errors import InputError, some


def known_number(path: Path, name: str, value: object) -> float | None:
    """Return `fps`, `width` or `height` of a file, or None if the file does not have it.

    Raises
    ------
    InputError
        The value is not a number, or out of bounds.
    """
    if value is None:
        return None
    lowest, highest = (1e-3, 1000) if name == "fps" else (1, 65_536)
    array = np.asarray(value) if isinstance(value, int | float | np.ndarray | np.number) else np.empty(0)
    number = float(array.item()) if array.size == 1 and array.dtype.kind in "iuf" else float("nan")
    if not lowest <= number <= highest:
        raise InputError(f"{path}: {name}: expected a number from {lowest:g} to {highest}")
    return number


def as_rows(rows: list[object], source: str, names: Sequence[object], field: str) -> np.ndarray:
    """Return lists of numbers as float64 (n, ...).

    Parameters
    ----------
    rows
        One list per person.
    source, names, field
        File, frame of each row, and name of the field, for errors.

    Raises
    ------
    InputError
        A row is not a list of numbers, or has another length than the first row.
    """
    array = _numbers(rows)
    if array is not None and array.ndim >= 2:
        return array
    first = _numbers(rows[0]) if rows else None
    for row, name in zip(rows, names, strict=True):
        values = _numbers(row)
        if values is None or values.ndim < 1:
            raise InputError(f"{source}: frame {name}: {field}: expected a list of numbers, not {_abbreviated(row)}")
        if first is not None and values.shape != first.shape:
            shape, first_shape = ("x".join(map(str, array.shape)) for array in (values, first))
            raise InputError(
                f"{source}: frame {name}: {field}: has {shape} numbers, expected {first_shape} as in the first"
            )
    raise InputError(f"{source}: {field}: expected lists of numbers in frames {some(names)}")


def _numbers(values: object) -> np.ndarray | None:
    try:
        array = np.array(values)
    except (ValueError, OverflowError, RecursionError):  # ragged or too deep
        return None
    if array.dtype.kind not in "iuf":
        return None
    flat: Any = values
    for _ in range(array.ndim - 1):
        flat = chain.from_iterable(flat)
    return None if array.ndim and bool in set(map(type, flat)) else array.astype(np.float64)  # numpy converts true to 1


def _abbreviated(value: object) -> str:
    text = type(value).__name__ if isinstance(value, list | dict) else repr(value)
    return ascii(text[:50])[1:-1]
