"""Pickles for the tests of the safe reader: reading one from a file, and arrays made from single opcodes."""

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tasks.ingest.safe_pickle import Source, read_pickle_stream

PROTOCOLS = range(6)
POSES = np.random.default_rng(0).standard_normal((17, 5, 3))
MIXED = [
    {"names": ["hip", "é\n\\"], 3: (POSES, None), ("walk", 1): [True, False, 1.5, -3, 2**70, 1j]},
    [
        np.array(["hip", "é"]),
        np.array([b"ab"]),
        np.array(5.0),
        np.zeros((0, 3)),
        np.array([True]),
        np.arange(1, dtype="i1"),
    ],
    np.array([[1], POSES, "x", None], dtype=object).reshape(2, 2, order="F"),
    [{1, 2}, frozenset("a"), set(), b"", b"x", b"abc" * 100, bytearray(), bytearray(b"abc"), "", np.dtype(">f8")],
    [np.float32(2), np.int64(3), np.str_("a"), np.bool_(True)],
]

RECONSTRUCT = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R"
FROM_BUFFER = b"cnumpy.core.numeric\n_frombuffer\n"
EIGHT = b"C\x08" + bytes(8)


def read_pickle(path: Path, on_array: Callable[[np.ndarray], object] = lambda array: array) -> object:
    with path.open("rb") as file:
        return read_pickle_stream(Source(file, path.stat().st_size, str(path)), on_array)


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def integer(value: int) -> bytes:
    return b"\x8a\x08" + struct.pack("<q", value)


def dtype(name: str, order: str = "<", sizes: bytes = b"J\xff\xff\xff\xff" * 2 + b"K\x00") -> bytes:
    return b"cnumpy\ndtype\n" + text(name) + b"\x89\x88\x87R(K\x03" + text(order) + b"NNN" + sizes + b"tb"


def array(shape: bytes, of: bytes, data: bytes) -> bytes:
    return RECONSTRUCT + b"(K\x01" + shape + of + b"\x89" + data + b"tb."


OBJECTS = dtype("O8", "|", b"J\xff\xff\xff\xff" * 2 + b"K\x3f")
