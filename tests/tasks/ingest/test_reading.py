"""Pickles, .npy and .npz are read as numpy wrote them, one array at a time; damaged and malicious files are refused."""

import contextlib
import io
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_contracts.errors import InputError, RefusedPickle
from tasks.ingest.reading import MOST_IN_TREE, read_motion_file
from tests.tasks.ingest.motion_files import Command, header, npy, objects, read

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture
def write(tmp_path: Path) -> Callable[[bytes], Path]:
    def write(data: bytes) -> Path:
        (tmp_path / "file.bin").write_bytes(data)
        return tmp_path / "file.bin"

    return write


# Valid files


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_the_arrays_of_an_npz_are_read_bit_for_bit_and_in_order(save, walking, tmp_path):
    walking = np.ascontiguousarray(walking)
    joints_first = np.asfortranarray(walking.transpose(1, 0, 2).astype(">f8"))
    save(tmp_path / "clips.npz", first=walking, second=joints_first, third=walking.astype("f2"), steps=np.arange(5))
    tree, arrays = read(tmp_path / "clips.npz")
    assert tree == {"first": "<0>", "second": "<1>", "third": "<2>", "steps": "<3>"}
    for array, expected in zip(arrays, [walking, joints_first, walking.astype("f2"), np.arange(5)], strict=True):
        assert (array.dtype, array.strides) == (expected.dtype, expected.strides)
        assert array.tobytes() == expected.tobytes()
        assert not array.flags.writeable


def test_names_rates_and_scalars_stay_in_the_tree(walking, tmp_path):
    np.savez(tmp_path / "a.npz", joints=walking, names=np.array(["p", "é"]), fps=60.0, moves=np.array([True]), who=b"s")
    tree, arrays = read(tmp_path / "a.npz")
    assert len(arrays) == 1
    assert tree["joints"] == "<0>"
    assert tree["names"].tolist() == ["p", "é"]
    assert (tree["fps"], tree["moves"].tolist(), tree["who"]) == (60.0, [True], b"s")


def test_object_arrays_are_read_without_unpickling(walking, tmp_path):
    takes = {"S1": {"walk": walking, "run": walking[:5]}}
    np.savez_compressed(
        tmp_path / "a.npz", positions_3d=np.array(takes, dtype=object), clips=objects(walking, [walking])
    )
    tree, arrays = read(tmp_path / "a.npz")
    assert tree["positions_3d"] == {"S1": {"walk": "<0>", "run": "<1>"}}
    assert tree["clips"].tolist() == ["<2>", ["<2>"]]
    np.testing.assert_array_equal(arrays[1], walking[:5])


def test_an_npy_is_read_as_one_array_or_as_a_tree_of_objects(walking, tmp_path):
    np.save(tmp_path / "stack.npy", np.stack([walking, walking * 2]))
    tree, (stack,) = read(tmp_path / "stack.npy")
    assert tree == "<0>"
    np.testing.assert_array_equal(stack, np.stack([walking, walking * 2]))
    np.save(tmp_path / "clips.npy", objects(walking, walking[:3]), allow_pickle=True)
    tree, arrays = read(tmp_path / "clips.npy")
    assert tree.tolist() == ["<0>", "<1>"]
    np.testing.assert_array_equal(arrays[1], walking[:3])


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_is_read_with_any_file_name(protocol, walking, tmp_path):
    clips = [walking, np.zeros((0,)), np.zeros((17, 0, 3)), np.float32(60), np.array(2), np.array(["a"])]
    (tmp_path / "pickle.npz").write_bytes(pickle.dumps(clips, protocol))
    tree, arrays = read(tmp_path / "pickle.npz")
    assert tree == ["<0>", "<1>", "<2>", 60, 2, ["a"]]
    np.testing.assert_array_equal(arrays[0], walking)
    assert [array.shape for array in arrays[1:]] == [(0,), (17, 0, 3)]


def test_version_2_headers_and_empty_archives_are_read(write, write_zip, walking):
    file = io.BytesIO()
    np.lib.format.write_array(file, walking, version=(2, 0))
    assert read(write(file.getvalue()))[1][0].tobytes() == walking.tobytes()
    assert read(write_zip()) == ({}, [])


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
@pytest.mark.parametrize(("name", "megabytes"), [("clips.npz", 10), ("packed.npz", 10), ("stack.npy", 5)])
def test_one_array_is_in_memory_at_a_time_and_an_npy_not_at_all(name, megabytes, tmp_path):
    clip = np.random.default_rng(0).integers(0, 200, (17, 10_000, 3)).astype(float)  # 4.1 MB
    if name == "stack.npy":
        np.save(tmp_path / name, np.stack([clip] * 6))
    else:
        save = np.savez if name == "clips.npz" else np.savez_compressed
        save(tmp_path / name, **{f"clip{n}": clip + n for n in range(6)})
    program = """
import re, sys
from pathlib import Path
from tasks.ingest.reading import read_motion_file
anonymous = lambda: int(re.search(r"RssAnon:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
before, seen = anonymous(), []
read_motion_file(Path(sys.argv[1]), lambda array: seen.append((float(array.sum()), anonymous())))
print(len(seen), max(kilobytes for _, kilobytes in seen) - before)
"""
    output = subprocess.check_output([sys.executable, "-c", program, str(tmp_path / name)], cwd=REPOSITORY)
    count, kilobytes = map(int, output.split())
    assert count == (1 if name == "stack.npy" else 6)
    assert kilobytes < 1000 * megabytes


def test_errors_of_on_array_are_not_reported_as_errors_of_the_file(write_zip, walking):
    def on_array(_: np.ndarray) -> None:
        raise ValueError("disk full")

    with pytest.raises(ValueError, match=r"^disk full$") as caught:
        read_motion_file(write_zip(("a.npy", npy(walking))), on_array)
    assert not isinstance(caught.value, InputError)


# Refused .npy files


EIGHT = bytes(2 * 17 * 3 * 8)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (header("(3, 17, 3)") + EIGHT, r"takes 1224 bytes, but 816 bytes follow"),
        (header("(1, 17, 3)") + EIGHT, r"takes 408 bytes, but 816 bytes follow"),
        (header(f"({2**40}, 17, 3)") + EIGHT, "but 816 bytes follow"),
        (header(f"({2**62}, 4, 3)") + EIGHT, "tuple of up to 64 integers"),
        (header("(-2, -17, 3)") + EIGHT, "tuple of up to 64 integers"),
        (header("(2, True, 3)") + EIGHT, "tuple of up to 64 integers"),
        (header("(" + "1, " * 65 + ")") + EIGHT, "tuple of up to 64 integers"),
        (header("[2, 17, 3]") + EIGHT, "shape is not valid"),
        (header(descr="'<f16'") + EIGHT, "dtype (float128|<f16)"),
        (header(descr="'<c16'") + EIGHT, "dtype complex128"),
        (header(descr="'<M8[s]'") + EIGHT, "dtype datetime64"),
        (header(descr="'V8'") + EIGHT, r"dtype \|V8"),
        (header(descr="[('x', '<f4'), ('y', '<f4')]") + EIGHT, "dtype .*x"),
        (header(descr="'f4,f4'") + EIGHT, "dtype "),
        (header(descr="('<f4', (2,))") + EIGHT, "dtype "),
        (header(descr="{'a': 1}") + EIGHT, ""),
        (header(descr="__import__('os').system('touch TRACE')") + EIGHT, "malformed node"),
        (header(descr="'<U1'", shape="(204,)") + b"\xff" * 816, "invalid character"),
        (header(more="'more': 1"), "correct keys"),
        (header(shape="(" * 300 + ")" * 300), ""),
        (header(shape="-" * 600 + "1"), ""),
        (header(more="#" + "a" * 2000) + EIGHT, "bytes are needed"),
        (header(version=b"\x02\x00", more="#" + "a" * 2000) + EIGHT, "bytes are needed"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff{", "4294967295 bytes are needed"),
        (header(version=b"\x03\x00") + EIGHT, r"version \(3, 0\)"),
        (header(version=b"\x09\x00") + EIGHT, r"version \(9, 0\)"),
        (b"\x93NUMPY", "bytes are needed"),
        (b"\x93NUMPY\x01\x00", "bytes are needed"),
        (header()[:40], "bytes are needed"),
        (header(descr="'|O'", shape="(1,)") + pickle.dumps(objects(1, 2)), "contains something else"),
        (header(descr="'|O'", shape="(2, 1)") + pickle.dumps(objects(1, 2)), "contains something else"),
        (header(descr="'|O'", shape="()") + pickle.dumps([1]), "contains something else"),
        (header(descr="'|O'", shape="()") + pickle.dumps(np.zeros(3)), "contains something else"),
        (npy(objects(Command())), r"builtins\.print is not allowed"),
        (npy(objects(1)) + b".", "more bytes follow the end of the pickle"),
        (npy(objects(1))[:-1], ""),
    ],
)  # fmt: skip
def test_an_invalid_npy_is_refused_with_the_byte_offset(data, reason, write, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    started = time.perf_counter()
    with pytest.raises(RefusedPickle, match=rf"file\.bin: refused at byte \d+: .*{reason}"):
        read(write(data))
    assert time.perf_counter() - started < 5
    assert capsys.readouterr().out == ""
    assert not (tmp_path / "TRACE").exists()


def test_large_arrays_other_than_motions_are_refused(write):
    data = pickle.dumps([np.zeros(MOST_IN_TREE + 1, bool)], 5)
    with pytest.raises(RefusedPickle, match=r"file\.bin: an array of bool \(67108865,\) takes 67108865 bytes"):
        read(write(data))


def test_a_missing_file_a_folder_and_a_pipe_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.pkl")  # opening it would wait for a writer
    for path in (tmp_path, tmp_path / "missing.npz", tmp_path / "pipe.pkl"):
        with pytest.raises(RefusedPickle, match=path.name):
            read(path)


# Random changes


def _valid() -> list[bytes]:
    clip = np.arange(102.0).reshape(2, 17, 3)
    files = [npy(clip), npy(objects(clip, "a")), npy(np.array({"S1": {"walk": clip}}, dtype=object))]
    for save in (np.savez, np.savez_compressed):
        file = io.BytesIO()
        save(file, clip=clip, names=np.array(["a", "é"]), fps=60.0, takes=objects(clip, {"a": clip}))
        files.append(file.getvalue())
    return files


VALID = _valid()
EDITS = st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 4), st.binary(max_size=4)), min_size=1, max_size=4)


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(valid=st.sampled_from(VALID), edits=EDITS, end=st.none() | st.integers(0, 10**6))
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_changed_file_is_read_or_refused(valid, edits, end, write):
    data = bytearray(valid)
    for place, dropped, inserted in edits:
        place %= len(data) + 1
        data[place : place + dropped] = inserted
    with contextlib.suppress(InputError):  # two changed bytes begin another format
        read(write(bytes(data[: None if end is None else end % (len(valid) + 1)])))
