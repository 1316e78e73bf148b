"""The safe reader returns the result of `pickle.load`, one array at a time; changed files are read or refused."""

import contextlib
import pickle
import pickletools
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_contracts.errors import InputError, RefusedPickle
from tests.tasks.ingest.pickles import MIXED, POSES, PROTOCOLS, read_pickle
from tests.tasks.ingest.python2_pickles import python2_pickle

REPOSITORY = Path(__file__).parents[3]
CMU = REPOSITORY / "../shared/data/cmu/amass_joints_h36m_60.pkl"


def assert_same(tree: Any, expected: Any) -> None:
    assert type(tree) is type(expected)
    if isinstance(expected, np.ndarray):
        assert (tree.dtype, tree.shape) == (expected.dtype, expected.shape)
        if expected.dtype == object:
            assert_same(tree.ravel().tolist(), expected.ravel().tolist())
        else:
            assert tree.strides == expected.strides
            assert tree.tobytes() == expected.tobytes()
    elif isinstance(expected, dict):
        assert list(tree) == list(expected)
        assert_same(list(tree.values()), list(expected.values()))
    elif isinstance(expected, list | tuple):
        assert len(tree) == len(expected)
        for part, expected_part in zip(tree, expected, strict=True):
            assert_same(part, expected_part)
    else:
        assert tree == expected


# Valid files


@pytest.mark.parametrize("container", [lambda a: [a, a + 1], lambda a: {"a": a}, lambda a: {"a": [(a, 1), {"b": [a]}]}])
@pytest.mark.parametrize("dtype", ["<f4", "<f8", ">f8", "<f2"])
@pytest.mark.parametrize("order", ["C", "F", "K"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_arrays_are_read_bit_for_bit(protocol, order, dtype, container, write):
    poses = POSES.transpose(1, 0, 2).astype(dtype) if order == "K" else POSES.astype(dtype, order=order)
    data = pickle.dumps(container(poses), protocol)
    assert_same(read_pickle(write(data)), pickle.loads(data))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_containers_and_scalars_are_read_equal(protocol, write):
    data = pickle.dumps(MIXED, protocol)
    assert_same(read_pickle(write(data)), pickle.loads(data))
    assert_same(read_pickle(write(pickletools.optimize(data))), pickle.loads(data))


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_a_pickle_of_numpy_1_is_read(protocol, write):
    data = pickle.dumps([POSES, np.float64(1)], protocol)
    old = data.replace(b"\x16numpy._core.", b"\x15numpy.core.").replace(b"\x13numpy._core.", b"\x12numpy.core.")
    old = old.replace(b"numpy._core.", b"numpy.core.")
    shorter = len(data) - len(old)
    if protocol >= 4:  # the length of the one frame
        frame = struct.unpack_from("<Q", old, 3)[0] - shorter
        old = old[:3] + struct.pack("<Q", frame) + old[11:]
    assert b"_core" not in old
    assert shorter
    assert_same(read_pickle(write(old)), pickle.loads(old))


@pytest.mark.parametrize("protocol", [0, 2])
def test_a_pickle_of_python_2_is_read(protocol, write):
    tree = {"name": "it's \n\xe9", "poses": [POSES, POSES.astype("f4")], "fps": 30.0, "n": [7, np.arange(300)]}
    data = python2_pickle(tree, protocol)
    read = read_pickle(write(data))
    assert_same(read, pickle.loads(data, encoding="latin1"))
    assert_same(read, tree)


@pytest.mark.skipif(not CMU.exists(), reason=f"real motion is not here: {CMU}")
def test_the_real_cmu_file_is_read_bit_for_bit():
    with CMU.open("rb") as file:
        assert_same(read_pickle(CMU), pickle.load(file))


# Streaming


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_each_array_is_passed_on_once_and_replaced_at_every_reference(protocol, write):
    second = POSES.astype("f4")
    tree = [POSES, {"again": POSES, "second": second}, np.array([second, [POSES]], dtype=object)]
    arrays: list[np.ndarray] = []

    def on_array(array: np.ndarray) -> str:
        arrays.append(array)
        return f"array {len(arrays)}"

    first, held, objects = read_pickle(write(pickle.dumps(tree, protocol)), on_array)  # type: ignore[misc]
    assert_same(arrays, [POSES, second])
    assert first == held["again"] == "array 1"
    assert held["second"] == "array 2"
    assert objects.tolist() == ["array 2", ["array 1"]]


def test_arrays_are_read_only(write):
    for protocol in PROTOCOLS:
        for array in read_pickle(write(pickle.dumps([POSES, POSES.astype(">f8")], protocol))):  # type: ignore[attr-defined]
            assert not array.flags.writeable


def test_errors_of_on_array_are_not_reported_as_errors_of_the_file(write):
    def on_array(_: np.ndarray) -> None:
        raise ValueError("disk full")

    with pytest.raises(ValueError, match=r"^disk full$") as caught:
        read_pickle(write(pickle.dumps([POSES])), on_array)
    assert not isinstance(caught.value, InputError)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
@pytest.mark.parametrize(("protocol", "megabytes"), [(2, 16), (4, 6), (5, 10)])
def test_memory_is_bounded_by_a_few_arrays_for_a_file_of_any_size(protocol, megabytes, tmp_path):
    clip = np.random.default_rng(0).standard_normal((17, 10_000, 3))  # 4.1 MB
    (tmp_path / "clips.pkl").write_bytes(pickle.dumps([clip + n for n in range(15)], protocol))
    program = """
import sys
from pathlib import Path
from tests.tasks.ingest.pickles import read_pickle
peak = lambda: int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
before = peak()
clips = read_pickle(Path(sys.argv[1]), lambda array: array.shape)
print(len(clips), peak() - before)
"""
    command = [sys.executable, "-c", program, str(tmp_path / "clips.pkl")]
    clips, kilobytes = subprocess.check_output(command, cwd=REPOSITORY).split()
    assert int(clips) == 15
    assert int(kilobytes) < 1000 * megabytes  # protocol 2 makes text, then bytes; protocol 5 bytes, then a bytearray


# Random changes


VALID = [pickle.dumps(tree, protocol) for tree in ([POSES[:2], POSES[:2].T], MIXED) for protocol in PROTOCOLS]
OPCODES = sorted({opcode.code.encode("latin-1") for opcode in pickletools.opcodes})


def pieces(data: bytes) -> list[bytes]:
    places = [place for _, _, place in pickletools.genops(data)]
    return [data[start:end] for start, end in zip(places, [*places[1:], len(data)], strict=True)]


PIECES = sorted({piece for data in VALID for piece in pieces(data)})
EDITS = st.lists(
    st.tuples(
        st.integers(0, 10**6), st.integers(0, 3), st.one_of(st.binary(max_size=9), st.sampled_from(PIECES + OPCODES))
    ),
    max_size=6,
)


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(valid=st.sampled_from(VALID), edits=EDITS, by_opcode=st.booleans(), end=st.none() | st.integers(0, 10**6))
def test_a_changed_file_is_read_or_refused(valid, edits, by_opcode, end, write):
    parts = pieces(valid) if by_opcode else [bytes([byte]) for byte in valid]
    for place, dropped, inserted in edits:
        place %= len(parts) + 1
        parts[place : place + dropped] = [inserted]
    read_or_refuse(write(b"".join(parts)[: None if end is None else end % (len(valid) + 1)]))


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=st.lists(st.sampled_from(PIECES + OPCODES), max_size=40))
def test_opcodes_in_any_order_are_read_or_refused(parts, write):
    read_or_refuse(write(b"".join(parts) + b"."))


def read_or_refuse(path: Path) -> None:
    with contextlib.suppress(RefusedPickle):
        read_pickle(path, lambda array: array.shape)
