"""Read an untrusted pickle that contains only numpy arrays and plain containers, one array in memory at a time.

- `pickletools.genops` splits the file into opcodes; `PickleMachine` interprets the harmless ones. No name from the file
  is imported: the fixed table `GLOBALS` of `pickled_arrays` maps each allowed name to a function.
- The file size limits memory and time, because it limits the number of opcodes, which create objects, and the number of
  converted bytes. No function walks a tree recursively. Python hashes and compares keys recursively, so keys are small.
- An array is complete at the BUILD of its state (protocols 0-4) or at the REDUCE of `_frombuffer` (protocol 5). The
  machine then yields the array and removes its bytes from the memo.
"""

import ast
import pickletools
import re
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any

import numpy as np

from data_contracts.errors import RefusedPickle
from tasks.ingest.pickled_arrays import GLOBALS, Constructor, Unfinished, require

FAILURES = (
    *(ArithmeticError, LookupError, MemoryError, OSError, RecursionError, TypeError, ValueError, Warning),
    *(EOFError, zipfile.BadZipFile, zlib.error),  # a pickle may be in a zip
)


def read_pickle_stream(source: "Source", on_array: Callable[[np.ndarray], object]) -> object:
    """Return the object in an untrusted pickle (protocols 0-5), read from the current position of `source` to the end.

    Parameters
    ----------
    source
        A pickle of numpy arrays (bool, integer, float16/32/64, str, bytes, object; any byte order and memory order),
        numpy scalars, list, tuple, dict, set, frozenset, str, bytes, bytearray, int, float, complex, bool and None.
        The limit is a million opcodes plus one for every 8 bytes, which large lists of plain numbers exceed.
    on_array
        Called once, in file order, with each complete array other than an object array. The array is read-only, and the
        returned value replaces it at every reference. Object arrays stay in the result.

    Raises
    ------
    RefusedPickle
        The file is damaged or contains anything else; the message has the file and the byte offset. Nothing is
        imported, called or allocated for the refused opcode. Errors of `on_array` are raised unchanged.
    """
    machine = PickleMachine(source)
    for array in machine.arrays():
        machine.settle(on_array(array))
        del array  # else the loop would keep this array in memory until the next one is complete
    return machine.result


class Source:
    """Open binary stream of `size` bytes (a file or a member of a zip), which is never read beyond this size.

    `paid` is the smaller of `size` and the compressed size, in bytes; it limits the number of objects.
    """

    def __init__(self, file: IO[bytes], size: int, name: str, paid: int | None = None) -> None:
        self.file, self.size, self.name = file, size, name
        self.paid = size if paid is None else min(size, paid)
        self.position = self.opcode_at = 0
        self.last = b""
        self.text = ""  # argument of the last opcode STRING

    def refusal(self, place: int, error: Exception) -> RefusedPickle:
        return RefusedPickle(f"{self.name}: refused at byte {place}: {short_ascii(error)}; save the file again")

    def tell(self) -> int:
        self.opcode_at = self.position  # genops calls this before each opcode, and only then
        return self.position

    def expect(self, count: int) -> None:
        left = self.size - self.position
        require(count <= left, f"{count} bytes are needed, but the file ends after {left}")

    def read(self, count: int) -> bytes:
        self.expect(count)
        self.position += count
        self.last = self.file.read(count)
        return self.last

    def readline(self) -> bytes:
        # Only UNICODE ("V") and STRING ("S") have data on a line. Any other long line is a number or a name that wastes
        # time or memory.
        line = self.file.readline(-1 if self.last in (b"V", b"S") else 65_536)
        self.position += len(line)
        if self.last == b"S":  # genops would refuse the bytes of an array
            require(_TEXT.fullmatch(line) is not None, "the opcode STRING has a text that Python 2 does not write")
            self.text = ast.literal_eval(f"b{line.decode('ascii')}").decode("latin1")
            return b"''\n"
        return line


def short_ascii(text: object) -> str:
    """Return text from a file as printable ASCII of limited length, for an error message."""
    return ascii(str(text)[:300])[1:-1][:500]  # escapes are longer than their letters


_TEXT = re.compile(rb"""(['"])(?:(?!\1|\\)[ -~]|\\(?:[\\'"nrt]|x[0-9a-f]{2}))*+\1\n""")  # protocol 0 of Python 2
_NOT_VALUES = frozenset({Constructor, Unfinished})  # refused in containers, so never in the result
_SPENT = object()  # replaces bytes in the memo that became an array
_MOST_TUPLE_KEYS = 10_000  # if tuple hashes collide on purpose, n keys take n * n comparisons
_ONLY = "only numpy arrays and plain containers are allowed"


class PickleMachine:
    """Interpreter of allowed opcodes: the stack and memo of a pickle, and the opcodes and bytes that are left."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []  # the stacks under the open marks
        self.memo: dict[int, Any] = {}
        self.recent: list[int] = []  # memo places written since bytes were last removed
        self.complete: np.ndarray | None = None  # array to yield, which replaces the Unfinished on top of the stack
        self.result: object = None
        self.opcodes_left = 1_000_000 + source.paid // 8  # an array of one number takes 100 bytes and 25 opcodes
        self.bytes_left = 3 * source.size  # protocol 2 spends an array's bytes twice: text to bytes, bytes to array
        self.tuple_keys = 0
        self.depths: dict[int, int] = {}  # id of an object array -> levels

    def arrays(self) -> Iterator[np.ndarray]:
        """Interpret the pickle and yield each complete array.

        Before the next step, the caller must call `settle` with the value that replaces the array.
        """
        try:
            for opcode, argument, _ in pickletools.genops(self.source):  # type: ignore[arg-type]  # has all methods used
                self.opcodes_left -= 4 if opcode.name == "EMPTY_SET" else 1  # a set takes 216 bytes, a list 56
                require(self.opcodes_left >= 0, "more opcodes than a file of arrays of this size can have")
                if opcode.name not in _OPERATIONS:
                    raise ValueError(f"opcode {opcode.name} ({str(argument).replace(' ', '.')}); {_ONLY}")
                _OPERATIONS[opcode.name](self, argument)
                if self.complete is not None:
                    yield self.complete
            self.source.opcode_at = self.source.position
            require(self.source.position == self.source.size, "more bytes follow the end of the pickle")
        except FAILURES as error:
            raise self.source.refusal(self.source.opcode_at, error) from error

    def settle(self, value: object) -> None:
        """Replace the unfinished array or dtype on top of the stack by `value`, there and in the memo."""
        self.complete = None
        unfinished, self.stack[-1] = self.stack[-1], value
        for place in unfinished.places:
            if self.memo[place] is unfinished:
                self.memo[place] = value

    def spend(self, count: int) -> None:
        """Subtract converted bytes or items from those allowed; raise ValueError if none are left."""
        self.bytes_left -= count
        require(self.bytes_left >= 0, "the file converts the same bytes or items repeatedly")

    def forget(self, data: bytes | bytearray | str) -> None:
        """Remove `data`, which has been converted, and each tuple that contains `data` from the memo."""
        for place in self.recent if len(data) > 1 else ():  # picklers share strings of one byte
            value = self.memo[place]
            if value is data or (type(value) is tuple and any(part is data for part in value[:5])):
                self.memo[place] = _SPENT
        self.recent.clear()

    def push(self, value: object) -> None:
        self.stack.append(value)

    def pop(self, count: int) -> list[Any]:
        require(count <= len(self.stack), "an opcode takes more values than the stack has")
        values = self.stack[-count:]
        del self.stack[-count:]
        return _checked(values)

    def mark(self) -> None:
        self.below.append(self.stack)
        self.stack = []

    def pop_marked(self) -> list[Any]:
        require(len(self.below) > 0, "an opcode ends a group that was not opened")
        values, self.stack = self.stack, self.below.pop()
        return _checked(values)

    def put(self, place: int) -> None:
        value = self.memo[place] = self.stack[-1]
        (value.places if type(value) is Unfinished else self.recent).append(place)

    def get(self, place: int) -> None:
        value = self.memo.get(place, _SPENT)
        require(value is not _SPENT, "reference to an empty memo place, or to the bytes of an earlier array")
        require(type(value) is not Unfinished, "reference to an array or dtype before it is complete")
        self.stack.append(value)

    def fill(self, method: Callable[[Any, Any], None], items: Iterable[Any]) -> None:
        method(self.stack[-1], items)  # a method such as list.extend raises TypeError for another type

    def keys(self, keys: list[Any]) -> Iterator[Any]:
        """Yield keys after a check that each is cheap to hash and to compare."""
        for key in keys:
            self.tuple_keys += type(key) is tuple
            require(self.tuple_keys <= _MOST_TUPLE_KEYS, f"more than {_MOST_TUPLE_KEYS} tuples as keys")
            parts = [key]
            for part in parts:
                if type(part) is tuple:
                    parts += part[:100]
                elif not isinstance(part, str | bytes | int | float | np.generic | None):
                    raise ValueError(
                        f"a dict or set has a {type(part).__name__} as key; expected text, bytes, a number or None"
                    )
                is_long = len(part) > 1000 if isinstance(part, str | bytes) else type(part) is int and abs(part) >> 60
                require(not is_long and len(parts) <= 100, "a key has more than 1000 letters, 60 bits or 100 parts")
            yield key

    def pairs(self, items: list[Any]) -> Iterator[tuple[Any, Any]]:
        return zip(self.keys(items[::2]), items[1::2], strict=True)

    def find(self, name: str) -> None:
        name = name.replace(" ", ".")  # GLOBAL has a blank between module and name
        require(name in GLOBALS, f"{name} is not allowed; {_ONLY}")
        self.stack.append(GLOBALS[name])

    def reduce(self) -> None:
        (arguments,) = self.pop(1)
        constructor = self.stack.pop()
        if type(constructor) is not Constructor or type(arguments) is not tuple:
            raise ValueError(f"REDUCE of a {type(constructor).__name__} and a {type(arguments).__name__}; {_ONLY}")
        self.stack.append(constructor.make(self, *arguments))

    def build(self) -> None:
        (state,) = self.pop(1)
        unfinished = self.stack[-1]
        if type(unfinished) is not Unfinished or type(state) is not tuple:
            raise ValueError(f"BUILD of a {type(unfinished).__name__} from a {type(state).__name__}; {_ONLY}")
        unfinished.finish(self, *state)

    def stop(self) -> None:
        (self.result,) = self.pop(1)
        require(not self.stack and not self.below, "the pickle ends with more than one value")


def _checked(values: list[Any]) -> list[Any]:
    require(_NOT_VALUES.isdisjoint(map(type, values)), "an unfinished array or a constructor is used as a value")
    return values


_LITERALS = (
    *("NONE", "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
)
_OPERATIONS: dict[str, Callable[[PickleMachine, Any], object]] = {
    "PROTO": lambda _, number: require(number <= 5, f"pickle protocol {number}; 0 to 5 are read"),
    "FRAME": lambda machine, length: machine.source.expect(length),
    "STOP": lambda machine, _: machine.stop(),
    **dict.fromkeys(_LITERALS, lambda machine, value: machine.push(value)),
    "STRING": lambda machine, _: machine.push(machine.source.text),
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
    "GLOBAL": lambda machine, name: machine.find(name),
    "STACK_GLOBAL": lambda machine, _: machine.find(".".join(machine.pop(2))),
    "REDUCE": lambda machine, _: machine.reduce(),
    "BUILD": lambda machine, _: machine.build(),
}
