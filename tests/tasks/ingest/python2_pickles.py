"""Pickles as Python 2 writes them, in which the bytes of an array are text."""

import struct

import numpy as np


def python2_pickle(tree: object, protocol: int) -> bytes:
    """Return a pickle of protocol 0 or 2 of dicts, lists, text (latin1), numbers and arrays."""
    return (b"" if protocol == 0 else b"\x80\x02") + _value(tree, protocol) + b"."


def _value(value: object, protocol: int) -> bytes:
    match value:
        case dict():
            items = b"".join(_value(part, protocol) for item in value.items() for part in item)
            return b"(" + items + b"d"
        case list():
            return b"(" + b"".join(_value(part, protocol) for part in value) + b"l"
        case tuple():
            return b"(" + b"".join(_value(part, protocol) for part in value) + b"t"
        case str():
            return _text(value.encode("latin1"), protocol)
        case bool() | None:
            return b"N" if value is None else b"I01\n" if value else b"I00\n"
        case int():
            return b"I%d\n" % value
        case float():
            return f"F{value!r}\n".encode() if protocol == 0 else b"G" + struct.pack(">d", value)
        case np.ndarray():
            return _array(value, protocol)
    raise TypeError(type(value))


def _array(array: np.ndarray, protocol: int) -> bytes:
    named = _text(array.dtype.str[1:].encode(), protocol)
    order = _text(array.dtype.str[:1].encode(), protocol)
    dtype = b"cnumpy\ndtype\n(" + named + b"I0\nI1\ntR(I3\n" + order + b"NNNI-1\nI-1\nI0\ntb"
    start = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\nt" + _text(b"b", protocol) + b"tR"
    shape = _value(array.shape, protocol)
    return start + b"(I1\n" + shape + dtype + b"I00\n" + _text(array.tobytes(), protocol) + b"tb"


def _text(data: bytes, protocol: int) -> bytes:
    if protocol == 0:
        return b"S" + repr(data).removeprefix("b").encode() + b"\n"
    return b"U" + bytes([len(data)]) + data if len(data) < 256 else b"T" + struct.pack("<i", len(data)) + data
