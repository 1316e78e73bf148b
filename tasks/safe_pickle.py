"""Read a pickle from a stranger: numpy arrays and plain containers, nothing else, and one array in memory at a time.

- `pickletools.genops` of the standard library cuts the file into opcodes; `_Machine` carries out the harmless ones. No
  name from the file is ever imported: it is looked up in `_GLOBALS`, a fixed table of functions of this file, which
  build arrays from checked arguments and never call numpy's own `_reconstruct` or `__setstate__`.
- What a file makes is paid for by its size: a count of opcodes bounds the objects, a count of bytes what is made of
  bytes, and nothing reads past the end. So a small file takes little memory and time, whatever it says. Nothing here
  walks a tree recursively; keys, which Python hashes and compares recursively, are kept small.
- An array is complete at the BUILD of its state (protocols 0-4) or at the REDUCE of `_frombuffer` (protocol 5). There
  it leaves the machine, and the memo, which would hold its bytes to the end, forgets them.
"""

import math
import pickletools
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from data_contracts.errors import RefusedPickle


def read_pickle(path: Path, on_array: Callable[[np.ndarray], object] | None = None) -> object:
    """Read a pickle of protocol 0-5 that need not be trusted.

    Parameters
    ----------
    path
        A pickle of numpy arrays (bool, integer, float16/32/64, str, bytes, object; any byte order and memory order),
        numpy scalars, list, tuple, dict, set, frozenset, str, bytes, bytearray, int, float, complex, bool and None.
        More than a million opcodes, and one more for every 8 bytes (lists of plain numbers, say), are refused.
    on_array
        Called once with every array as soon as it is complete, in file order; what it returns stands in the array's
        place wherever the pickle refers to it. The reader then lets go of the array, so that about one is in memory.
        Object arrays are not handed over: they stay in the tree, and the other arrays they hold are handed over.

    Returns
    -------
    object
        The whole tree. Arrays, here and in `on_array`, are read-only views of the bytes read (object arrays excepted).
        One may be kept without a copy; its bytes then stay in memory with it.

    Raises
    ------
    RefusedPickle
        On anything else, naming the file, the byte offset of the opcode at fault and what it asked for, before anything
        is imported, called or allocated for it. What `on_array` raises is passed on as it is.
    OSError
        If the file cannot be opened.
    """
    if not path.is_file():  # opening a pipe would wait for its writer
        raise RefusedPickle(f"{path}: there is no such file")
    with path.open("rb") as file:
        machine = _Machine(_Source(file, path.stat().st_size))
        for array in machine.arrays():
            machine.settle(array if on_array is None else on_array(array))
            del array  # or this loop would hold it until the next one is complete
    return machine.result


class _Source:
    """The open file as `genops` reads it: never past its end."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file, self.size = file, size
        self.position = self.opcode_at = 0
        self.last = b""

    def tell(self) -> int:
        self.opcode_at = self.position  # genops asks before each opcode, and only there
        return self.position

    def expect(self, count: int) -> None:
        if count > self.size - self.position:
            raise ValueError(f"{count} bytes are needed, and the file ends after {self.size - self.position}")

    def read(self, count: int) -> bytes:
        self.expect(count)
        self.position += count
        self.last = self.file.read(count)
        return self.last

    def readline(self) -> bytes:
        # Only UNICODE ("V") brings data on a line. Any other long line is a number or name made to take time or memory.
        line = self.file.readline(-1 if self.last == b"V" else 65_536)
        self.position += len(line)
        return line


@dataclass(frozen=True)
class _Constructor:
    """What a name from the file stands for: one of the functions at the end of this file."""

    make: Callable[..., object]


@dataclass(eq=False)
class _Unfinished:
    """An array or dtype that awaits its state, and where the memo refers to it."""

    finish: Callable[..., None]
    places: list[int] = field(default_factory=list)


_NOT_VALUES = frozenset({_Constructor, _Unfinished})  # they never enter a container, so none is in the tree read
_SPENT = object()  # in the memo: bytes that have become an array
_MOST_TUPLE_KEYS = 10_000  # tuple hashes can be made to collide, and then n keys take n * n comparisons
_DEEPEST_OBJECT_ARRAY = 20  # numpy frees object arrays within object arrays by recursion in C
_FAILURES = (ArithmeticError, LookupError, MemoryError, OSError, RecursionError, TypeError, ValueError, Warning)
_ONLY = "only numpy arrays and plain containers are read"


class _Machine:
    """The pickle machine: a stack, a memo, and the allowance that a file of this size has."""

    def __init__(self, source: _Source) -> None:
        self.source = source
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []  # the stacks under the open marks
        self.memo: dict[int, Any] = {}
        self.recent: list[int] = []  # memo places written since bytes were last spent
        self.complete: np.ndarray | None = None  # the array to hand over, for the _Unfinished on top of the stack
        self.result: object = None
        self.opcodes_left = 1_000_000 + source.size // 8  # an array of one number takes 100 bytes and 25 opcodes
        self.bytes_left = 3 * source.size  # protocol 2 spends an array's bytes twice: text to bytes, bytes to array
        self.tuple_keys = 0
        self.depths: dict[int, int] = {}  # of object arrays, by id

    def arrays(self) -> Iterator[np.ndarray]:
        """Run the file and pause at each complete array, for `settle`; the caller's own errors stay out of the try."""
        try:
            for opcode, argument, _ in pickletools.genops(self.source):  # type: ignore[arg-type]  # all it needs
                self.opcodes_left -= 4 if opcode.name == "EMPTY_SET" else 1  # which takes 216 bytes, a list 56
                _require(self.opcodes_left >= 0, "more opcodes than a file of arrays of this size has")
                if opcode.name not in _OPERATIONS:
                    raise ValueError(f"uses {opcode.name} ({_dotted(str(argument))}); {_ONLY}")
                _OPERATIONS[opcode.name](self, argument)
                if self.complete is not None:
                    yield self.complete
            self.source.opcode_at = self.source.position
            _require(self.source.position == self.source.size, "more bytes follow the end of the pickle")
        except _FAILURES as error:
            reason = ascii(str(error)[:300])[1:-1]
            name, place = self.source.file.name, self.source.opcode_at
            raise RefusedPickle(f"{name}: refused at byte {place}: {reason}") from error

    def settle(self, value: object) -> None:
        """Put `value` in the place of the unfinished array or dtype, on the stack and in the memo."""
        self.complete = None
        unfinished, self.stack[-1] = self.stack[-1], value
        for place in unfinished.places:
            if self.memo[place] is unfinished:
                self.memo[place] = value

    def spend(self, count: int) -> None:
        """Pay for something made of `count` bytes or items that the file brought."""
        self.bytes_left -= count
        _require(self.bytes_left >= 0, "the same bytes or items are made into something over and over")

    def forget(self, data: bytes | bytearray | str) -> None:
        """Let the memo drop `data`, of which an array or bytes were made, and the tuple that brought it."""
        for place in self.recent if len(data) > 1 else ():  # picklers share strings of one byte
            value = self.memo[place]
            if value is data or (type(value) is tuple and any(part is data for part in value[:5])):
                self.memo[place] = _SPENT
        self.recent.clear()

    def push(self, value: object) -> None:
        self.stack.append(value)

    def pop(self, count: int) -> list[Any]:
        _require(count <= len(self.stack), "takes a value from an empty stack")
        values = self.stack[-count:]
        del self.stack[-count:]
        return _checked(values)

    def mark(self) -> None:
        self.below.append(self.stack)
        self.stack = []

    def pop_marked(self) -> list[Any]:
        _require(len(self.below) > 0, "closes a group that was not opened")
        values, self.stack = self.stack, self.below.pop()
        return _checked(values)

    def put(self, place: int) -> None:
        value = self.memo[place] = self.stack[-1]
        (value.places if type(value) is _Unfinished else self.recent).append(place)

    def get(self, place: int) -> None:
        value = self.memo.get(place, _SPENT)
        _require(value is not _SPENT, "asks the memo for what it was not given, or for the bytes of an earlier array")
        _require(type(value) is not _Unfinished, "refers to an array or dtype before it is complete")
        self.stack.append(value)

    def fill(self, method: Callable[[Any, Any], None], items: Iterable[Any]) -> None:
        method(self.stack[-1], items)  # a method such as list.extend raises TypeError for another type than its own

    def keys(self, keys: list[Any]) -> Iterator[Any]:
        """Pass keys that are cheap to hash and compare, however often the file makes Python do it."""
        for key in keys:
            self.tuple_keys += type(key) is tuple
            _require(self.tuple_keys <= _MOST_TUPLE_KEYS, f"more than {_MOST_TUPLE_KEYS} tuples as keys")
            parts = [key]
            for part in parts:
                if type(part) is tuple:
                    parts += part[:100]
                elif not isinstance(part, str | bytes | int | float | np.generic | None):
                    raise ValueError(f"a {type(part).__name__} as key")
                is_long = len(part) > 1000 if isinstance(part, str | bytes) else type(part) is int and abs(part) >> 60
                _require(not is_long and len(parts) <= 100, "a key of more than 1000 letters, 60 bits or 100 parts")
            yield key

    def pairs(self, items: list[Any]) -> Iterator[tuple[Any, Any]]:
        return zip(self.keys(items[::2]), items[1::2], strict=True)

    def find(self, name: str) -> None:
        _require(name in _GLOBALS, f"asks for {name}; {_ONLY}")
        self.stack.append(_GLOBALS[name])

    def reduce(self) -> None:
        (arguments,) = self.pop(1)
        constructor = self.stack.pop()
        if type(constructor) is not _Constructor or type(arguments) is not tuple:
            raise ValueError(f"REDUCE of a {type(constructor).__name__} and a {type(arguments).__name__}; {_ONLY}")
        self.stack.append(constructor.make(self, *arguments))

    def build(self) -> None:
        (state,) = self.pop(1)
        unfinished = self.stack[-1]
        if type(unfinished) is not _Unfinished or type(state) is not tuple:
            raise ValueError(f"BUILD of a {type(unfinished).__name__} from a {type(state).__name__}; {_ONLY}")
        unfinished.finish(self, *state)

    def stop(self) -> None:
        (self.result,) = self.pop(1)
        _require(not self.stack and not self.below, "the pickle ends with more than one value")


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ValueError(otherwise)


def _checked(values: list[Any]) -> list[Any]:
    _require(_NOT_VALUES.isdisjoint(map(type, values)), "an unfinished array or a constructor is used as a value")
    return values


def _dotted(name: str) -> str:
    return name.replace(" ", ".")


_LITERALS = (
    *("NONE", "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING"),
    *("BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
)
_OPERATIONS: dict[str, Callable[[_Machine, Any], object]] = {
    "PROTO": lambda _, number: _require(number <= 5, f"pickle protocol {number}; 0 to 5 are read"),
    "FRAME": lambda machine, length: machine.source.expect(length),
    "STOP": lambda machine, _: machine.stop(),
    **dict.fromkeys(_LITERALS, lambda machine, value: machine.push(value)),
    "NEWTRUE": lambda machine, _: machine.push(True),
    "NEWFALSE": lambda machine, _: machine.push(False),
    "MARK": lambda machine, _: machine.mark(),
    "POP": lambda machine, _: machine.stack.pop() if machine.stack else machine.pop_marked(),
    "POP_MARK": lambda machine, _: machine.pop_marked(),
    "DUP": lambda machine, _: machine.stack.extend(machine.pop(1) * 2),
    **dict.fromkeys(["PUT", "BINPUT", "LONG_BINPUT"], lambda machine, place: machine.put(place)),
    "MEMOIZE": lambda machine, _: machine.put(len(machine.memo)),
    **dict.fromkeys(["GET", "BINGET", "LONG_BINGET"], lambda machine, place: machine.get(place)),
    "EMPTY_TUPLE": lambda machine, _: machine.push(()),
    "TUPLE1": lambda machine, _: machine.push(tuple(machine.pop(1))),
    "TUPLE2": lambda machine, _: machine.push(tuple(machine.pop(2))),
    "TUPLE3": lambda machine, _: machine.push(tuple(machine.pop(3))),
    "TUPLE": lambda machine, _: machine.push(tuple(machine.pop_marked())),
    "EMPTY_LIST": lambda machine, _: machine.push([]),
    "LIST": lambda machine, _: machine.push(machine.pop_marked()),
    "APPEND": lambda machine, _: machine.fill(list.extend, machine.pop(1)),
    "APPENDS": lambda machine, _: machine.fill(list.extend, machine.pop_marked()),
    "EMPTY_DICT": lambda machine, _: machine.push({}),
    "DICT": lambda machine, _: machine.push(dict(machine.pairs(machine.pop_marked()))),
    "SETITEM": lambda machine, _: machine.fill(dict.update, machine.pairs(machine.pop(2))),
    "SETITEMS": lambda machine, _: machine.fill(dict.update, machine.pairs(machine.pop_marked())),
    "EMPTY_SET": lambda machine, _: machine.push(set()),
    "ADDITEMS": lambda machine, _: machine.fill(set.update, machine.keys(machine.pop_marked())),
    "FROZENSET": lambda machine, _: machine.push(frozenset(machine.keys(machine.pop_marked()))),
    "GLOBAL": lambda machine, name: machine.find(_dotted(name)),
    "STACK_GLOBAL": lambda machine, _: machine.find(_dotted(".".join(machine.pop(2)))),
    "REDUCE": lambda machine, _: machine.reduce(),
    "BUILD": lambda machine, _: machine.build(),
}


def _array(machine: _Machine, dtype: Any, data: Any, shape: Any, order: object) -> np.ndarray:
    if type(data) not in (bytes, bytearray) or not isinstance(dtype, np.dtype) or dtype.kind == "O":
        raise ValueError(f"an array or scalar of numbers or text made of a {type(data).__name__}")
    size = dtype.itemsize * _count(shape)
    _require(size == len(data), f"an array of {size} bytes by its shape brings {len(data)} bytes")
    machine.spend(size)
    if dtype.kind == "U" and size:
        letters = np.frombuffer(data, np.dtype("u4").newbyteorder(dtype.byteorder))
        _require(letters.max() <= 0x10FFFF, "an array of str holds what is no character")
    array: np.ndarray = np.ndarray(shape, dtype, buffer=data, order="F" if order == "F" else "C")
    array.flags.writeable = False
    return array


def _object_array(machine: _Machine, dtype: Any, items: list[Any], shape: Any) -> np.ndarray:
    _require(isinstance(dtype, np.dtype) and dtype.kind == "O", "an array of numbers made of a list")
    _require(_count(shape) == len(items), "an array of objects brings more or fewer than its shape says")
    machine.spend(len(items))
    depth = 1 + max((machine.depths.get(id(item), 0) for item in items if type(item) is np.ndarray), default=0)
    _require(depth <= _DEEPEST_OBJECT_ARRAY, "object arrays in object arrays, too deep")
    flat = np.empty(len(items), object)
    for place, item in enumerate(items):  # one by one, since numpy would take lists apart
        flat[place] = item
    array = flat.reshape(shape)
    machine.depths[id(array)] = depth
    return array


def _count(shape: Any) -> int:
    if type(shape) is not tuple or len(shape) > 64 or not all(type(n) is int and 0 <= n < 2**48 for n in shape):
        raise ValueError("an array shape that is no tuple of up to 64 integers from 0 to 2**48")
    return math.prod(shape)


def _reconstruct(_: _Machine, kind: object, _shape: object, _typecode: object) -> _Unfinished:
    _require(kind is np.ndarray, "_reconstruct of something that is no ndarray")
    return _Unfinished(_finish_array)


def _finish_array(machine: _Machine, version: object, shape: Any, dtype: Any, is_fortran: object, data: Any) -> None:
    _require(version == 1 and is_fortran in (True, False), "an array state other than numpy writes it")
    if type(data) is list:
        machine.settle(_object_array(machine, dtype, data, shape))
    else:
        array = _array(machine, dtype, data, shape, "F" if is_fortran else "C")
        machine.complete = array.astype(array.dtype.newbyteorder("="), copy=False)  # as numpy does, but in _frombuffer
        machine.complete.flags.writeable = False
        machine.forget(data)


def _frombuffer(machine: _Machine, data: Any, dtype: Any, shape: Any, order: object, axes: Any = None) -> _Unfinished:
    _require(order in ("C", "F") if axes is None else order == "K", "an array in an order other than numpy writes it")
    array = _array(machine, dtype, data, shape, order)
    machine.complete = array if axes is None else array.transpose(axes)  # for K the shape is that in memory
    machine.forget(data)
    return _Unfinished(_finish_array)


def _scalar(machine: _Machine, dtype: Any, data: Any) -> object:
    return _array(machine, dtype, data, (), "C")[()]


def _dtype(_: _Machine, name: str, align: object, copy: object) -> _Unfinished:
    known = re.fullmatch("b1|[iu][1248]|f[248]|[SU][1-9][0-9]{0,6}|O8?", name)
    _require(known is not None, f"asks for dtype {name[:50]}; numbers, bool, str, bytes and object are read")
    _require((align, copy) == (False, True), "a dtype other than numpy writes it")
    return _Unfinished(partial(_finish_dtype, np.dtype(name)))


def _finish_dtype(dtype: np.dtype, machine: _Machine, version: object, order: str, *state: object) -> None:
    finished = dtype.newbyteorder(order)  # type: ignore[arg-type]  # and raises ValueError
    # Fields, metadata and flags are not set but compared: numpy crashes on flags that do not fit the type.
    _require(finished.__reduce__()[2] == (version, order, *state), "a dtype with fields, or other than numpy writes it")
    machine.settle(finished)


def _encode(machine: _Machine, text: Any, encoding: str) -> bytes:
    _require(type(text) is str and encoding in ("latin1", "latin-1"), "_codecs.encode of what is no latin1 text")
    machine.spend(len(text))
    machine.forget(text)
    return text.encode("latin1")


def _bytearray(machine: _Machine, data: Any = b"", encoding: str | None = None) -> bytearray:
    data = data if encoding is None else _encode(machine, data, encoding)
    _require(type(data) is bytes, "a bytearray of something that is not bytes")
    machine.spend(len(data))
    return bytearray(data)


def _set(kind: type, machine: _Machine, items: Any) -> object:
    _require(type(items) is list, "a set of something that is no list")
    machine.spend(len(items))
    return kind(machine.keys(items))


_GLOBALS: dict[str, object] = {
    "numpy.ndarray": np.ndarray,  # an argument of _reconstruct, which is not called
    "numpy.dtype": _Constructor(_dtype),
    "_codecs.encode": _Constructor(_encode),
}
for _core in ("numpy.core", "numpy._core"):
    _GLOBALS[f"{_core}.multiarray._reconstruct"] = _Constructor(_reconstruct)
    _GLOBALS[f"{_core}.multiarray.scalar"] = _Constructor(_scalar)
    _GLOBALS[f"{_core}.numeric._frombuffer"] = _Constructor(_frombuffer)
for _builtins in ("builtins", "__builtin__"):
    _GLOBALS[f"{_builtins}.set"] = _Constructor(partial(_set, set))
    _GLOBALS[f"{_builtins}.frozenset"] = _Constructor(partial(_set, frozenset))
    _GLOBALS[f"{_builtins}.bytearray"] = _Constructor(_bytearray)
    _GLOBALS[f"{_builtins}.bytes"] = _Constructor(lambda _: b"")  # protocol 2 writes empty bytes so
    _GLOBALS[f"{_builtins}.complex"] = _Constructor(lambda _, real, imaginary: complex(real, imaginary))
