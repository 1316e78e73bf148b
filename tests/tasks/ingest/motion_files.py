"""Support for the tests of the motion file reader: reading a file, and arrays as bytes."""

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np

from tasks.ingest.reading import read_motion_file


def read(path: Path) -> tuple[Any, list[np.ndarray]]:
    """Return the tree, with `<n>` in place of the n-th array passed on, and these arrays."""
    arrays: list[np.ndarray] = []

    def on_array(array: np.ndarray) -> str:
        arrays.append(array)
        return f"<{len(arrays) - 1}>"

    return read_motion_file(path, on_array), arrays


def objects(*items: object) -> np.ndarray:
    array = np.empty(len(items), object)
    array[:] = items
    return array


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def header(shape: str = "(2, 17, 3)", descr: str = "'<f8'", version: bytes = b"\x01\x00", more: str = "") -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, {more}}}".encode()
    return b"\x93NUMPY" + version + struct.pack("<H" if version == b"\x01\x00" else "<I", len(text)) + text


class Command:
    """An object whose pickle calls `print`."""

    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("this must not run",)
