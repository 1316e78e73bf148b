"""Damaged and malicious .npz files are refused."""

import io
import re
import struct
import zipfile

import numpy as np
import pytest

from data_contracts.errors import RefusedPickle
from tasks.ingest.reading import MOST_INFLATION, read_motion_file
from tests.tasks.ingest.motion_files import Command, header, npy, objects, read


def test_byte_offsets_within_object_arrays_count_from_the_start_of_the_member(write_zip):
    data = npy(objects(Command()))
    with pytest.raises(RefusedPickle, match=r"file\.npz!clips\.npy: refused at byte") as refusal:
        read(write_zip(("clips.npy", data)))
    place = int(re.findall(r"at byte (\d+)", str(refusal.value))[0])
    assert b"print" in data[place - 20 : place + 2]  # STACK_GLOBAL follows the name


def test_a_member_with_too_high_compression_is_refused_before_it_is_read(write_zip):
    most = 2**20 // MOST_INFLATION
    path = write_zip(("zeros.npy", npy(np.zeros((17, 10_000, 3)))))  # deflate makes 1 byte of 1000 zeros
    with pytest.raises(
        RefusedPickle,
        match=r"file\.npz!zeros\.npy: refused: its entry declares 4080128 bytes from \d+ compressed bytes;",
    ):
        read(path)
    clip = np.random.default_rng(0).integers(0, 2, (17, most, 3)).astype(float)
    assert len(read(write_zip(("bits.npy", npy(clip))))[1]) == 1  # 40 times


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("kind", ["numbers", "objects"])
def test_a_member_whose_size_differs_from_its_entry_is_refused(kind, method, write_zip):
    clip = np.random.default_rng(0).random((17, 40, 3))
    data = npy(clip if kind == "numbers" else objects(clip))
    original = write_zip(("a.npy", data), method=method).read_bytes()
    entry = original.index(b"PK\x01\x02") + 24  # the uncompressed size in the directory
    for size in (len(data) - 8, len(data) + 8, 100, 2**31):
        changed = original[:entry] + struct.pack("<I", size) + original[entry + 4 :]
        path = write_zip()
        path.write_bytes(changed)
        with pytest.raises(RefusedPickle, match=r"file\.npz!a\.npy: refused"):
            read(path)
    longer = io.BytesIO()  # valid header, and a checksum that matches the inflated bytes
    with zipfile.ZipFile(longer, "w", method) as archive:
        archive.writestr("a.npy", data + b"\0" * 5000)
    changed = longer.getvalue()
    entry = changed.index(b"PK\x01\x02") + 24
    path.write_bytes(changed[:entry] + struct.pack("<I", len(data)) + changed[entry + 4 :])
    with pytest.raises(RefusedPickle, match=r"a\.npy: refused at byte \d+: more bytes follow"):
        read(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("kind", ["numbers", "objects"])
def test_a_wrong_checksum_is_refused(kind, method, write_zip, walking):
    path = write_zip(
        ("good.npy", npy(walking)), ("bad.npy", npy(walking if kind == "numbers" else objects(walking))), method=method
    )
    data = bytearray(path.read_bytes())
    data[data.rindex(b"PK\x01\x02") + 16] ^= 1
    path.write_bytes(data)
    arrays: list[np.ndarray] = []
    with pytest.raises(RefusedPickle, match=r"file\.npz!bad\.npy: refused at byte \d+: Bad CRC-32"):
        read_motion_file(path, arrays.append)
    assert len(arrays) == 1 or kind == "objects"  # whose arrays are passed on before the checksum is verified


def test_a_flipped_bit_of_the_data_is_detected(write_zip, walking):
    path = write_zip(("a.npy", npy(walking)), method=zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(RefusedPickle, match="Bad CRC-32"):
        read(path)


def changed_entry(data: bytes, offset: int, value: bytes) -> bytes:
    """Return the archive with other bytes in the first entry of its directory."""
    place = data.index(b"PK\x01\x02") + offset
    return data[:place] + value + data[place + len(value) :]


@pytest.mark.parametrize(
    ("offset", "value", "reason"),
    [
        (8, b"\x01\x00", "the member is encrypted"),
        (8, b"\x40\x00", "strong encryption"),
        (10, b"\x0c\x00", "compression method 12; supported: 0 and 8"),
        (10, b"\x0e\x00", "compression method 14"),
        (10, b"\x63\x00", "compression method 99"),
        (20, b"\xff\xff\xff\x7f", "its members declare"),
        (42, b"\x05\x00\x00\x00", "Bad magic number for file header"),
        (42, b"\xff\xff\xff\x7f", "Truncated file header"),
        (46, b"b.npy", "File name in directory"),
    ],
)
def test_an_invalid_directory_entry_is_refused(offset, value, reason, write_zip, walking):
    path = write_zip(("a.npy", npy(walking)))
    path.write_bytes(changed_entry(path.read_bytes(), offset, value))
    with pytest.raises(RefusedPickle, match=rf"file\.npz.*refused: .*{reason}"):
        read(path)


def test_duplicate_members_and_members_other_than_arrays_are_refused(write_zip, walking):
    with pytest.warns(UserWarning, match="Duplicate name"):
        path = write_zip(("a.npy", npy(walking)), ("a.npy", npy(walking)))
    with pytest.raises(RefusedPickle, match=r"file\.npz!a\.npy: refused: another member has the same name"):
        read(path)
    with pytest.raises(RefusedPickle, match=r"file\.npz!folder/: refused: the member is not an \.npy"):
        read(write_zip(("folder/", b"")))
    with pytest.raises(RefusedPickle, match=r"a\\n\\x1b\.txt: refused: the member is not an \.npy"):
        read(write_zip(("a\n\x1b.txt", b"")))


def test_an_npz_truncated_at_any_place_is_refused(write_zip, walking):
    path = write_zip(("a.npy", npy(walking)), ("b.npy", npy(objects(walking))))
    data = path.read_bytes()
    for length in [3, 4, 30, *(len(data) * tenth // 10 for tenth in range(1, 10)), len(data) - 1]:
        path.write_bytes(data[:length])
        with pytest.raises(RefusedPickle, match=r"file\.npz"):
            read(path)


def test_the_size_on_disk_bounds_the_opcodes_of_an_archive(write_zip):
    opcodes = b"]" + b"\x8f0" * 300_000 + b"."  # empty sets, which count four times
    path = write_zip(("a.npy", header(descr="'|O'", shape="()") + opcodes + np.random.default_rng(0).bytes(8000)))
    with pytest.raises(
        RefusedPickle, match=r"a\.npy: refused at byte \d+: more opcodes than a file of arrays of this size"
    ):
        read(path)
