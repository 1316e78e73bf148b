"""The safe reader refuses a pickle of anything but arrays and plain containers, quickly and without calling it."""

import os
import pickle
import struct
import sys
import time
from typing import Any

import numpy as np
import pytest

from data_contracts.errors import RefusedPickle
from tests.tasks.ingest.pickles import (
    EIGHT,
    FROM_BUFFER,
    OBJECTS,
    POSES,
    PROTOCOLS,
    RECONSTRUCT,
    array,
    dtype,
    integer,
    read_pickle,
    text,
)

SYSTEM = "touch TRACE"


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"cos\nsystem\n(V%s\ntR.", "os.system"),
        (b"(V%s\nios\nsystem\n.", "os.system"),
        (b"(cos\nsystem\nV%s\no.", "os.system"),
        (b"\x80\x04\x8c\x05posix\x8c\x06system\x93(V%s\ntR.", "posix.system"),
        (b"cos\nsystem\n(V%s\nt\x81.", "os.system"),
        (b"c__builtin__\neval\n(V__import__('os').system('%s')\ntR.", "__builtin__.eval"),
        (b"cbuiltins\nexec\n(V%s\ntR.", "builtins.exec"),
        (b"cnumpy\nload\n(V%s\ntR.", "numpy.load"),
        (b"cnumpy.core.multiarray\nscalar\ncnumpy\nndarray\n(V%s\ntb.", "BUILD of a type"),
        (b"]}(V__setstate__\ncos\nsystem\nub.", "os.system"),
        (b"V%s\nQ.", "BINPERSID"),
        (b"P%s\n.", "PERSID"),
        (b"\x82\x01.", "EXT1"),
        (b"\x80\x05\x97.", "NEXT_BUFFER"),
    ],
)
def test_a_name_that_is_not_allowed_is_refused_without_import_or_call(data, name, write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    imported = set(sys.modules)
    with pytest.raises(RefusedPickle, match=r"file\.pkl: refused at byte \d+: .*" + name.replace(".", r"\.")):
        read_pickle(write(data.replace(b"%s", SYSTEM.encode())))
    assert not (tmp_path / "TRACE").exists()
    assert set(sys.modules) == imported


def test_an_object_that_would_run_a_command_is_refused(write, tmp_path, monkeypatch):
    class Command:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.system, (SYSTEM,)

    monkeypatch.chdir(tmp_path)
    for protocol in PROTOCOLS:
        with pytest.raises(RefusedPickle, match=r"(posix|nt)\.system is not allowed"):
            read_pickle(write(pickle.dumps([POSES, Command()], protocol)))
    assert not (tmp_path / "TRACE").exists()
    pickle.loads(pickle.dumps(Command()))  # the trap does work
    assert (tmp_path / "TRACE").exists()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_truncated_file_is_refused_with_the_byte_offset(protocol, write):
    data = pickle.dumps([POSES, {"a": POSES[0]}], protocol)
    for length in [*range(10), *(len(data) * tenth // 10 for tenth in range(10)), len(data) - 1]:
        with pytest.raises(RefusedPickle, match=r"file\.pkl: refused at byte \d+") as refusal:
            read_pickle(write(data[:length]))
        assert int(str(refusal.value).split("at byte ")[1].split(":")[0]) <= length


def test_bytes_after_the_end_are_refused_with_the_byte_offset(write):
    data = pickle.dumps([POSES])
    with pytest.raises(RefusedPickle, match=f"at byte {len(data)}: more bytes follow"):
        read_pickle(write(data + b"."))


def test_the_hand_made_arrays_below_are_read_if_they_are_valid(write):
    (zero,) = read_pickle(write(array(b"K\x01\x85", dtype("f8"), EIGHT)))
    assert (type(zero), zero) == (np.float64, 0)
    assert read_pickle(write(array(b"K\x01\x85", OBJECTS, b"]Na"))).tolist() == [None]


NOT_BYTES, WRITES, SHAPE = "is built from", "numpy does not write", "expected a tuple of up to 64"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (
            array(integer(2**40) + b"\x85", dtype("f8"), EIGHT),
            "needs 8796093022208 bytes, but the file contains 8 bytes",
        ),
        (array(integer(2**31) * 2 + b"\x86", dtype("f8"), EIGHT), "needs 36893488147419103232 bytes"),
        (array(integer(2**62) + b"\x85", dtype("f8"), EIGHT), SHAPE),
        (array(integer(-1) * 2 + b"\x86", dtype("f8"), EIGHT), SHAPE),
        (array(integer(-1) + b"K\x00\x86", dtype("f8"), b"C\x00"), SHAPE),
        (array(b"(K\x00" + integer(2**47) * 3 + b"t", dtype("f8"), b"C\x00"), "array is too big"),
        (array(b"\x8b" + struct.pack("<I", 10**6) + b"\x7f" * 10**6 + b"2\x86", dtype("f8"), EIGHT), SHAPE),
        (array(b"(" + b"K\x01" * 65 + b"t", dtype("f8"), EIGHT), SHAPE),
        (array(b"N", dtype("f8"), EIGHT), SHAPE),
        (array(b"\x88\x85", dtype("f8"), EIGHT), SHAPE),
        (array(b"G" + struct.pack(">d", 1) + b"\x85", dtype("f8"), EIGHT), SHAPE),
        (array(b"K\x02\x85", dtype("f8"), EIGHT), "needs 16 bytes, but the file contains 8"),
        (array(b")", dtype("f4"), EIGHT), "needs 4 bytes, but the file contains 8"),
        (array(b"K\x01\x85", OBJECTS, EIGHT), NOT_BYTES),
        (array(b"K\x01\x85", dtype("f8"), b"N"), NOT_BYTES),
        (array(b"K\x01\x85", dtype("f8"), b"X\x03\x00\x00\x00\xe2\x82\xac"), "codec can't encode"),
        (array(b"K\x01\x85", b"N", EIGHT), NOT_BYTES),
        (b"cnumpy.core.multiarray\nscalar\n" + OBJECTS + EIGHT + b"\x86R.", NOT_BYTES),
        (array(b"K\x01\x85", dtype("f8"), b"]Na"), "numbers is built from a list"),
        (array(integer(2**40) + b"\x85", OBJECTS, b"]"), "more or fewer items than its shape"),
        (array(b"K\x01\x85", dtype("V8", "|"), EIGHT), "dtype V8 is not allowed"),
        (array(b"K\x01\x85", dtype("M8"), EIGHT), "dtype M8 is not allowed"),
        (array(integer(2**40) + b"\x85", dtype("U0", "<", b"K\x00K\x04K\x08"), b"C\x00"), "dtype U0 is not allowed"),
        (array(b"K\x02\x85", dtype("U1", "<", b"K\x04K\x04K\x08"), b"C\x08" + b"\xff" * 8), "invalid character"),
        (array(b"K\x02\x85", dtype("U1", "<", b"K\x04K\x04K\x28"), EIGHT), WRITES),  # these flags crash numpy
        (array(b"K\x01\x85", dtype("f8", "<", b"J\xff\xff\xff\xff" * 2 + b"K\x3f"), EIGHT), WRITES),
        (array(b"K\x01\x85", dtype("f8").replace(b"\x89\x88", b"\x88\x88"), EIGHT), WRITES),
        (array(b"K\x01\x85", dtype("f8"), EIGHT).replace(b"(K\x01K\x01", b"(K\x02K\x01"), WRITES),
        (FROM_BUFFER + b"(" + EIGHT + dtype("f8") + b"K\x01\x85" + text("A") + b"tR.", WRITES),
        (array(b"K\x01\x85", b"cnumpy\ndtype\n" + text("f8") + b"\x89\x88\x87R", EIGHT), "unfinished"),
        (array(b"K\x01\x85", dtype("f8"), EIGHT).replace(b"cnumpy\nndarray\n", b"N"), "other than ndarray"),
        (RECONSTRUCT + b"q\x01(K\x01K\x01\x85" + OBJECTS + b"\x89]h\x01atb.", "before it is complete"),
    ],
)
def test_an_invalid_array_is_refused(data, reason, write):
    called: list[np.ndarray] = []
    with pytest.raises(RefusedPickle, match=reason):
        read_pickle(write(data), called.append)
    assert not called


LAUGHS = b")" + b"2\x86" * 300  # a tuple of 2 tuples of 2 tuples ... of 2 ** 300 empty ones
LONG_KEY, ENDS, AGAIN = "a key has more than 1000 letters, 60 bits or 100 parts", "the file ends after", "repeatedly"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"})" + b"\x85" * 100_000 + b"Ns.", LONG_KEY),
        (b"()" + b"\x85" * 100_000 + b"\x91.", LONG_KEY),
        (b"}" + LAUGHS + b"Ns.", LONG_KEY),
        (b"(" + LAUGHS + b"\x91.", LONG_KEY),
        (b"}\x8b" + struct.pack("<I", 10**6) + b"\x7f" * 10**6 + b"Ns.", LONG_KEY),
        (b"}" + text("a" * 1001) + b"Ns.", LONG_KEY),
        (b"}" + b"".join(b"M" + struct.pack("<H", n) + b"\x85Ns" for n in range(10_001)) + b".", "10000 tuples"),
        (LAUGHS + b"Q.", "BINPERSID"),
        (LAUGHS + b")R.", "REDUCE of a tuple"),
        (LAUGHS + text("a") + b"\x93.", "tuple found"),
        (b"cnumpy\ndtype\n" + LAUGHS + b"\x89\x88\x87R.", "got 'tuple'"),
        (array(LAUGHS, dtype("f8"), EIGHT), SHAPE),
        (array(b"K\x01\x85", LAUGHS, EIGHT), NOT_BYTES),
        (array(b"K\x01\x85", dtype("f8"), LAUGHS), NOT_BYTES),
        (array(b"(" + b"K\x02" * 100_000 + b"t", dtype("f8"), EIGHT), SHAPE),
        (
            ((RECONSTRUCT + b"(K\x01K\x01\x85" + OBJECTS + b"\x89](") * 5000 + b"N" + b"etb" * 5000 + b"."),
            "nested deeper",
        ),
        (b"\x80\x04\x95" + struct.pack("<Q", 2**62) + b"N.", ENDS),
        (b"\x8d" + struct.pack("<Q", 2**62), ENDS),
        (b"\x8e" + struct.pack("<Q", 2**40) + b"a", ENDS),
        (b"\x96" + struct.pack("<Q", 2**40) + b"a", ENDS),
        (b"\x8b\xff\xff\xff\x7f", ENDS),
        (b"I" + b"9" * 5_000_000 + b"\n.", "no newline"),
        (b"S'" + b"a" * 5_000_000 + b"\n.", "a text that Python 2 does not write"),
        (b"S'a' + b'\n.", "a text that Python 2 does not write"),
        (b"S'\\q'\n.", "a text that Python 2 does not write"),
        (b"L" + b"9" * 60_000 + b"L\n.", "4300 digits"),
        (b"C\xff" + bytes(255) + b"q\x010cbuiltins\nbytearray\nq\x02" + b"0h\x02h\x01\x85R" * 10_000 + b".", AGAIN),
        (b"](" + b"N" * 1000 + b"eq\x010cbuiltins\nset\nq\x02" + b"0h\x02h\x01\x85R" * 10_000 + b".", AGAIN),
        (b"(" + b"N" * 10_000 + b"tq\x010cnumpy\ndtype\nq\x02" + b"0h\x02h\x01R" * 10_000 + b".", "arguments"),
        (b"cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R.", "other than bytes"),
        (b"cbuiltins\nset\n" + text("abc") + b"\x85R.", "other than a list"),
        (b"\x80\x06N.", "protocol 6"),
        (b"NN.", "more than one value"),
        (b"(N.", "more than one value"),
        (b"1.", "not opened"),
        (b"a.", "more values than the stack has"),
    ],
)
def test_a_bomb_or_an_invalid_opcode_is_refused_quickly(data, reason, write):
    started = time.perf_counter()
    with pytest.raises(RefusedPickle, match=reason):
        read_pickle(write(data))
    assert time.perf_counter() - started < 10  # most take milliseconds, although their nesting is exponential


@pytest.mark.parametrize(("opcode", "each"), [(b"]", 1), (b"\x8f", 4), (b"\x94", 1)])
def test_a_file_of_too_many_opcodes_is_refused_before_it_fills_the_memory(opcode, each, write):
    data = b"]" + opcode * 1_200_000
    with pytest.raises(RefusedPickle, match=f"at byte {(1_000_000 + len(data) // 8 - 1) // each + 1}: more opcodes"):
        read_pickle(write(data))


def test_deep_and_shared_nesting_is_read_without_recursion(write):
    for data in (b")" + b"\x85" * 200_000 + b".", b"]" * 200_000 + b"a" * 199_999 + b".", LAUGHS + b"."):
        assert read_pickle(write(data)) is not None
    assert read_pickle(write(b"]r\x00\x00\x00\x80h\x00.".replace(b"h\x00", b"0j\x00\x00\x00\x80"))) == []


def test_the_bytes_of_an_array_cannot_be_used_again(write):
    data = EIGHT + b"q\x01" + array(b"K\x01\x85", dtype("f8"), b"h\x01")[:-1] + b"\x86h\x01\x86."
    with pytest.raises(RefusedPickle, match="bytes of an earlier array"):
        read_pickle(write(data))


def test_unfinished_arrays_and_constructors_are_never_in_the_tree(write):
    for data in (b"cbuiltins\nset\n.", b"]cbuiltins\nset\na.", RECONSTRUCT + b".", b"]" + RECONSTRUCT + b"a."):
        with pytest.raises(RefusedPickle, match="used as a value"):
            read_pickle(write(data))


def test_a_malicious_name_cannot_forge_the_message(write):
    with pytest.raises(RefusedPickle) as refusal:
        read_pickle(write(text("a\n\x1b[31m") + text("b" * 1000) + b"\x93."))
    assert str(refusal.value).isprintable()
    assert len(str(refusal.value)) < 500
