"""The arrays and few other objects that a pickle may make by name: `GLOBALS`, and the functions that it names.

They stand in for numpy's own `_reconstruct`, `__setstate__`, `_frombuffer` and `scalar`, which trust their arguments.
Here each argument is checked first: the dtype is a plain one, as numpy itself would write it, and the bytes brought are
those that the shape asks for. `tasks.ingest.safe_pickle` calls them; nothing else does.
"""

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import numpy as np

PLAIN_DTYPE = re.compile("b1|[iu][1248]|f[248]|[SU][1-9][0-9]{0,6}|O8?")  # numbers, text, objects
_DEEPEST_OBJECT_ARRAY = 20  # numpy frees object arrays within object arrays by recursion in C


class Machine(Protocol):
    """What the functions below ask of `safe_pickle.PickleMachine`, which calls them."""

    complete: object
    depths: dict[int, int]

    def spend(self, count: int) -> None:
        """Pay for so many bytes or items; ValueError where the file is too small to have paid for them."""

    def settle(self, value: object) -> None:
        """`value` is what the object that awaits its state has become."""

    def forget(self, data: bytes | bytearray | str) -> None:
        """The machine need not remember `data` longer."""

    def keys(self, keys: list[Any]) -> Iterator[Any]:
        """Hashable `keys` of a set or dict, or ValueError."""


@dataclass(frozen=True)
class Constructor:
    """What a name from the file stands for: one of the functions below."""

    make: Callable[..., object]


@dataclass(eq=False)
class Unfinished:
    """An array or dtype that awaits its state, and where the memo refers to it."""

    finish: Callable[..., None]
    places: list[int] = field(default_factory=list)


def require(holds: bool, otherwise: str) -> None:
    """ValueError that says `otherwise`, unless it holds."""
    if not holds:
        raise ValueError(otherwise)


def plain_array(dtype: np.dtype, data: Any, shape: Any, order: object) -> np.ndarray:
    """A read-only view of the bytes `data` as numbers or text; ValueError where shape and bytes do not fit."""
    size = dtype.itemsize * count_items(shape)
    require(size == len(data), f"an array of {size} bytes by its shape brings {len(data)} bytes")
    if dtype.kind == "U" and size:
        letters = np.frombuffer(data, np.dtype("u4").newbyteorder(dtype.byteorder))
        require(letters.max() <= 0x10FFFF, "an array of str holds what is no character")
    array: np.ndarray = np.ndarray(shape, dtype, buffer=data, order="F" if order == "F" else "C")
    array.flags.writeable = False
    return array


def count_items(shape: Any) -> int:
    """The items of an array of that shape; ValueError where it is none."""
    if type(shape) is not tuple or len(shape) > 64 or not all(type(n) is int and 0 <= n < 2**48 for n in shape):
        raise ValueError("an array shape that is no tuple of up to 64 integers from 0 to 2**48")
    return math.prod(shape)


def _array(machine: Machine, dtype: Any, data: Any, shape: Any, order: object) -> np.ndarray:
    if type(data) not in (bytes, bytearray) or not isinstance(dtype, np.dtype) or dtype.kind == "O":
        raise ValueError(f"an array or scalar of numbers or text made of a {type(data).__name__}")
    array = plain_array(dtype, data, shape, order)
    machine.spend(len(data))
    return array


def _object_array(machine: Machine, dtype: Any, items: list[Any], shape: Any) -> np.ndarray:
    require(isinstance(dtype, np.dtype) and dtype.kind == "O", "an array of numbers made of a list")
    require(count_items(shape) == len(items), "an array of objects brings more or fewer than its shape says")
    machine.spend(len(items))
    depth = 1 + max((machine.depths.get(id(item), 0) for item in items if type(item) is np.ndarray), default=0)
    require(depth <= _DEEPEST_OBJECT_ARRAY, "object arrays in object arrays, too deep")
    flat = np.empty(len(items), object)
    for place, item in enumerate(items):  # one by one, since numpy would take lists apart
        flat[place] = item
    array = flat.reshape(shape)
    machine.depths[id(array)] = depth
    return array


def _reconstruct(_: Machine, kind: object, _shape: object, _typecode: object) -> Unfinished:
    require(kind is np.ndarray, "_reconstruct of something that is no ndarray")
    return Unfinished(_finish_array)


def _finish_array(machine: Machine, version: object, shape: Any, dtype: Any, is_fortran: object, data: Any) -> None:
    require(version == 1 and is_fortran in (True, False), "an array state other than numpy writes it")
    if type(data) is list:
        machine.settle(_object_array(machine, dtype, data, shape))
    else:
        array = _array(machine, dtype, data, shape, "F" if is_fortran else "C")
        machine.complete = array.astype(array.dtype.newbyteorder("="), copy=False)  # as numpy does, but in _frombuffer
        machine.complete.flags.writeable = False
        machine.forget(data)


def _frombuffer(machine: Machine, data: Any, dtype: Any, shape: Any, order: object, axes: Any = None) -> Unfinished:
    require(order in ("C", "F") if axes is None else order == "K", "an array in an order other than numpy writes it")
    array = _array(machine, dtype, data, shape, order)
    machine.complete = array if axes is None else array.transpose(axes)  # for K the shape is that in memory
    machine.forget(data)
    return Unfinished(_finish_array)


def _scalar(machine: Machine, dtype: Any, data: Any) -> object:
    return _array(machine, dtype, data, (), "C")[()]


def _dtype(_: Machine, name: str, align: object, copy: object) -> Unfinished:
    known = PLAIN_DTYPE.fullmatch(name) is not None
    require(known, f"asks for dtype {name[:50]}; numbers, bool, str, bytes and object are read")
    require((align, copy) == (False, True), "a dtype other than numpy writes it")
    return Unfinished(partial(_finish_dtype, np.dtype(name)))


def _finish_dtype(dtype: np.dtype, machine: Machine, version: object, order: str, *state: object) -> None:
    finished = dtype.newbyteorder(order)  # type: ignore[arg-type]  # and raises ValueError
    # Fields, metadata and flags are not set but compared: numpy crashes on flags that do not fit the type.
    require(finished.__reduce__()[2] == (version, order, *state), "a dtype with fields, or other than numpy writes it")
    machine.settle(finished)


def _encode(machine: Machine, text: Any, encoding: str) -> bytes:
    require(type(text) is str and encoding in ("latin1", "latin-1"), "_codecs.encode of what is no latin1 text")
    machine.spend(len(text))
    machine.forget(text)
    return text.encode("latin1")


def _bytearray(machine: Machine, data: Any = b"", encoding: str | None = None) -> bytearray:
    data = data if encoding is None else _encode(machine, data, encoding)
    require(type(data) is bytes, "a bytearray of something that is not bytes")
    machine.spend(len(data))
    return bytearray(data)


def _set(kind: type, machine: Machine, items: Any) -> object:
    require(type(items) is list, "a set of something that is no list")
    machine.spend(len(items))
    return kind(machine.keys(items))


GLOBALS: dict[str, object] = {
    "numpy.ndarray": np.ndarray,  # an argument of _reconstruct, which is not called
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
    GLOBALS[f"{_builtins}.bytes"] = Constructor(lambda _: b"")  # protocol 2 writes empty bytes so
    GLOBALS[f"{_builtins}.complex"] = Constructor(lambda _, real, imaginary: complex(real, imaginary))
