"""Build the arrays and the few other objects that a pickle may construct by name (`GLOBALS`).

These functions replace numpy's `_reconstruct`, `__setstate__`, `_frombuffer` and `scalar`, which do not check their
arguments. Here each argument is checked: the dtype is plain, in the form that numpy writes, and the number of bytes
matches the shape.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from tasks.ingest.safe_pickle import PickleMachine as Machine

PLAIN_DTYPE = re.compile("b1|[iu][1248]|f[248]|[SU][1-9][0-9]{0,6}|O8?")  # numbers, text, objects
_DEEPEST_OBJECT_ARRAY = 20  # numpy frees nested object arrays by recursion in C


@dataclass(frozen=True)
class Constructor:
    """A function `make` of this module, which is called instead of the function that the pickle names."""

    make: Callable[..., object]


@dataclass(eq=False)
class Unfinished:
    """Placeholder for an array or dtype: a later BUILD calls `finish` with the state; `places` are keys in the memo."""

    finish: Callable[..., None]
    places: list[int] = field(default_factory=list)


def require(condition: bool, message: str) -> None:
    """Raise ValueError with `message` unless the condition is true."""
    if not condition:
        raise ValueError(message)


def plain_array(dtype: np.dtype, data: Any, shape: Any, order: object) -> np.ndarray:
    """Return a read-only view of the bytes `data` as numbers or text; raise ValueError if shape and bytes disagree."""
    size = dtype.itemsize * count_items(shape)
    require(size == len(data), f"the shape of an array needs {size} bytes, but the file contains {len(data)} bytes")
    if dtype.kind == "U" and size:
        letters = np.frombuffer(data, np.dtype("u4").newbyteorder(dtype.byteorder))
        require(letters.max() <= 0x10FFFF, "an array of str contains an invalid character")
    array: np.ndarray = np.ndarray(shape, dtype, buffer=data, order="F" if order == "F" else "C")
    array.flags.writeable = False
    return array


def count_items(shape: Any) -> int:
    """Return the number of items of an array of this shape; raise ValueError if the shape is invalid."""
    if type(shape) is not tuple or len(shape) > 64 or not all(type(n) is int and 0 <= n < 2**48 for n in shape):
        raise ValueError("invalid array shape; expected a tuple of up to 64 integers from 0 to 2**48")
    return math.prod(shape)


def _array(machine: "Machine", dtype: Any, data: Any, shape: Any, order: object) -> np.ndarray:
    if type(data) is str:  # bytes of Python 2
        data = _encode(machine, data, "latin1")
    if type(data) not in (bytes, bytearray) or not isinstance(dtype, np.dtype) or dtype.kind == "O":
        raise ValueError(f"an array or scalar is built from a {type(data).__name__}; expected bytes of numbers or text")
    array = plain_array(dtype, data, shape, order)
    machine.spend(len(data))
    return array


def _object_array(machine: "Machine", dtype: Any, items: list[Any], shape: Any) -> np.ndarray:
    require(isinstance(dtype, np.dtype) and dtype.kind == "O", "an array of numbers is built from a list, not bytes")
    require(count_items(shape) == len(items), "an object array has more or fewer items than its shape")
    machine.spend(len(items))
    depth = 1 + max((machine.depths.get(id(item), 0) for item in items if type(item) is np.ndarray), default=0)
    require(depth <= _DEEPEST_OBJECT_ARRAY, f"object arrays are nested deeper than {_DEEPEST_OBJECT_ARRAY} levels")
    flat = np.empty(len(items), object)
    for place, item in enumerate(items):  # one by one, since numpy would unpack lists
        flat[place] = item
    array = flat.reshape(shape)
    machine.depths[id(array)] = depth
    return array


def _reconstruct(_: "Machine", kind: object, _shape: object, _typecode: object) -> Unfinished:
    require(kind is np.ndarray, "_reconstruct builds a type other than ndarray")
    return Unfinished(_finish_array)


def _finish_array(machine: "Machine", version: object, shape: Any, dtype: Any, is_fortran: object, data: Any) -> None:
    require(version == 1 and is_fortran in (True, False), "an array has a state that numpy does not write")
    if type(data) is list:
        machine.settle(_object_array(machine, dtype, data, shape))
    else:
        array = _array(machine, dtype, data, shape, "F" if is_fortran else "C")
        # Convert to the native byte order, as numpy does here but not in _frombuffer.
        machine.complete = array.astype(array.dtype.newbyteorder("="), copy=False)
        machine.complete.flags.writeable = False
        machine.forget(data)


def _frombuffer(machine: "Machine", data: Any, dtype: Any, shape: Any, order: object, axes: Any = None) -> Unfinished:
    require(order in ("C", "F") if axes is None else order == "K", "an array has an order that numpy does not write")
    array = _array(machine, dtype, data, shape, order)
    machine.complete = array if axes is None else array.transpose(axes)  # for K, the shape is in memory order
    machine.forget(data)
    return Unfinished(_finish_array)


def _scalar(machine: "Machine", dtype: Any, data: Any) -> object:
    return _array(machine, dtype, data, (), "C")[()]


def _dtype(_: "Machine", name: str, align: object, copy: object) -> Unfinished:
    is_plain = PLAIN_DTYPE.fullmatch(name) is not None
    require(is_plain, f"dtype {name[:50]} is not allowed; supported: numbers, bool, str, bytes and object")
    require((align, copy) == (False, True), "a dtype has options that numpy does not write")
    return Unfinished(partial(_finish_dtype, np.dtype(name)))


def _finish_dtype(dtype: np.dtype, machine: "Machine", version: object, order: str, *state: object) -> None:
    finished = dtype.newbyteorder(order)  # type: ignore[arg-type]  # raises ValueError
    # Fields, metadata and flags are compared, never set: numpy crashes on flags that do not fit the type.
    require(
        finished.__reduce__()[2] == (version, order, *state),
        "a dtype has fields, or a state that numpy does not write",
    )
    machine.settle(finished)


def _encode(machine: "Machine", text: Any, encoding: str) -> bytes:
    is_latin = type(text) is str and encoding in ("latin1", "latin-1")
    require(is_latin, "_codecs.encode converts something other than latin1 text")
    machine.spend(len(text))
    machine.forget(text)
    return text.encode("latin1")


def _bytearray(machine: "Machine", data: Any = b"", encoding: str | None = None) -> bytearray:
    data = data if encoding is None else _encode(machine, data, encoding)
    require(type(data) is bytes, "a bytearray is built from something other than bytes")
    machine.spend(len(data))
    return bytearray(data)


def _set(kind: type, machine: "Machine", items: Any) -> object:
    require(type(items) is list, "a set is built from something other than a list")
    machine.spend(len(items))
    return kind(machine.keys(items))


GLOBALS: dict[str, object] = {
    "numpy.ndarray": np.ndarray,  # an argument of _reconstruct; never called
    "numpy.dtype": Constructor(_dtype),
    "_codecs.encode": Constructor(_encode),
}
for _core in ("numpy.core", "numpy._core"):
    GLOBALS[f"{_core}.multiarray._reconstruct"] = Constructor(_reconstruct)
    GLOBALS[f"{_core}.multiarray.scalar"] = Constructor(_scalar)
    GLOBALS[f"{_core}.numeric._frombuffer"] = Constructor(_frombuffer)
for _builtins in ("builtins", "__builtin__"):
    GLOBALS[f"{_builtins}.set"] = Constructor(partial(_set, set))
    GLOBALS[f"{_builtins}.frozenset"] = Constructor(partial(_set, frozenset))
    GLOBALS[f"{_builtins}.bytearray"] = Constructor(_bytearray)
    GLOBALS[f"{_builtins}.bytes"] = Constructor(lambda _: b"")  # protocol 2 writes empty bytes this way
    GLOBALS[f"{_builtins}.complex"] = Constructor(lambda _, real, imaginary: complex(real, imaginary))
