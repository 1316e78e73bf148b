"""Read the rows of numbers of a text file in one call of numpy, after a check of their size."""

import warnings
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from data_contracts.errors import InputError


def read_rows(path: Path, lines: Iterable[str], rows: int, columns: int, line: int, delimiter: str = "") -> np.ndarray:
    """Return numbers (rows, columns) float64, one row per line; without a delimiter, white space separates them.

    `line` is the number of the line before the first row. A damaged file, or other numbers of rows or columns, raise
    an InputError.
    """
    size = path.stat().st_size
    if 2 * rows * columns > size + 1:  # a number takes a digit and a separator
        raise InputError(
            f"{path}: line {line}: {rows} frames of {columns} numbers are declared, but the file has"
            f" {size} bytes; export the file again"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about a file without rows, which the check below refuses
            values = np.loadtxt(lines, delimiter=delimiter or None, comments=None, ndmin=2, max_rows=rows + 1)
    except (ValueError, OverflowError) as error:
        reason = ascii(" ".join(str(error).split())[:200])
        raise InputError(f"{path}: a frame after line {line} is not {columns} numbers: {reason}; correct it") from error
    if values.shape != (rows, columns):
        found = f"{'more' if len(values) > rows else len(values)} frames of {values.shape[1]} numbers"
        raise InputError(
            f"{path}: line {line}: {rows} frames of {columns} numbers are declared, but {found} follow; export it again"
        )
    return values
