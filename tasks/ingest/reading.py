"""Read a motion file from a stranger, whatever its name: a pickle, an .npy or an .npz, one array in memory at a time.

- Nothing is unpickled: object arrays, which numpy writes as pickles, go through `tasks.ingest.safe_pickle`.
- What an .npz makes is paid for by its size: no member may inflate to more than 200 times what it takes in the file,
  together they may take no more than the file has, and each ends where its directory entry and its own header say.
- An .npy is mapped into memory, not loaded: an array larger than the memory can be handed over. That of an .npz is
  handed over when its checksum has been found right; the arrays within object arrays are handed over before it is.
"""

import copy
import mmap
import struct
import sys
import tokenize
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from data_contracts.errors import RefusedPickle
from tasks.ingest.pickled_arrays import PLAIN_DTYPE, count_items, plain_array, require
from tasks.ingest.safe_pickle import FAILURES, Source, read_pickle_stream

OnArray = Callable[[np.ndarray], object]

MOST_INFLATION = 200  # bytes of a member for each byte that it takes in the file; deflate itself reaches 1032
MOST_KEPT = 64 * 2**20  # bytes of an array that stays in the tree: 300,000 names of 50 letters
_LONGEST_HEADER = 1000  # bytes; numpy writes 118 for all arrays that are read here
_CHUNK = 2**20


def read_motion_file(path: Path, on_array: OnArray) -> object:
    """Read a pickle, .npy or .npz that need not be trusted; its first bytes tell which it is.

    Parameters
    ----------
    path
        A pickle as `safe_pickle.read_pickle` takes it; an .npy; an .npz whose members are .npy, stored or
        deflated. Arrays may be of numbers (bool, integer, float16/32/64), str, bytes or objects.
    on_array
        Called once, in file order, with every array of integers or floats that has an axis; what it returns stands in
        the array's place in the tree. Arrays are read-only; that of an .npy is a view of the mapped file, others
        are let go of before the next is read. Numpy scalars, arrays without axes, and arrays of bool, str or bytes
        are not handed over: they stay in the tree as they are.

    Returns
    -------
    object
        The tree of the pickle; of an .npy its array; of an .npz a dict from the names of the members, without .npy, to
        their arrays. In the place of an object array without axes stands what it holds.

    Raises
    ------
    RefusedPickle
        The file is missing, damaged, asks for more than arrays and plain containers, or claims to be larger than it is.
        The message names the file, the member as `file.npz!member.npy`, and the byte offset within it where there is
        one. What `on_array` raises is passed on as it is.
    OSError
        If the file cannot be opened.
    """
    if not path.is_file():  # opening a pipe would wait for its writer
        raise RefusedPickle(f"{path}: there is no such file")
    with path.open("rb") as file:
        start = file.read(len(npy.MAGIC_PREFIX))
        file.seek(0)
        source = Source(file, path.stat().st_size, str(path))
        if start.startswith((b"PK\x03\x04", b"PK\x05\x06")):
            return _read_npz(source, on_array)
        if start == npy.MAGIC_PREFIX:
            return _read_npy(source, on_array, _map)
        return read_pickle_stream(source, lambda array: _hand_over(source, array, on_array))


def _hand_over(source: Source, array: np.ndarray, on_array: OnArray) -> object:
    if array.ndim and array.dtype.kind in "iuf":
        return on_array(array)
    if array.nbytes > MOST_KEPT:
        what = f"{array.dtype.name} {array.shape} takes {array.nbytes} bytes, and is no motion"
        raise RefusedPickle(f"{source.name}: an array of {what}; such arrays may have {MOST_KEPT} bytes")
    return array


def _read_npy(source: Source, on_array: OnArray, load: Callable[[Source], memoryview]) -> object:
    """Read what `source` holds from its first byte to its last; `load` brings the bytes of an array of numbers."""
    try:
        shape, is_fortran, dtype = _read_header(source)
        left = source.size - source.position
        if dtype.kind != "O":
            size = dtype.itemsize * count_items(shape)
            require(size == left, f"an array {shape} of {dtype} takes {size} bytes, and {left} follow its header")
            array = plain_array(dtype, load(source), shape, "F" if is_fortran else "C")
    except _NPY_FAILURES as error:
        raise source.refusal(source.position, error) from error
    if dtype.kind != "O":
        return _hand_over(source, array, on_array)
    tree = read_pickle_stream(source, lambda array: _hand_over(source, array, on_array))
    if type(tree) is not np.ndarray or tree.dtype != dtype or tree.shape != shape:
        reason = ValueError(f"its header says an object array {shape}, and its pickle brings something else")
        raise source.refusal(source.size - left, reason)
    return tree.item() if tree.ndim == 0 else tree


def _read_header(source: Source) -> tuple[tuple[int, ...], bool, np.dtype]:
    end, source.size = source.size, min(source.size, _LONGEST_HEADER)  # numpy reads first and measures afterwards
    version = npy.read_magic(source)  # type: ignore[arg-type]  # all it needs
    require(version in ((1, 0), (2, 0)), f"an .npy header of version {version}; 1.0 and 2.0 are read")
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, is_fortran, dtype = read(source, max_header_size=_LONGEST_HEADER)  # type: ignore[arg-type]
    source.size = end
    is_plain = dtype.names is None and dtype.subdtype is None and PLAIN_DTYPE.fullmatch(dtype.str[1:]) is not None
    require(is_plain, f"an array of dtype {str(dtype)[:50]}; numbers, bool, str, bytes and object are read")
    return shape, is_fortran, dtype


def _map(source: Source) -> memoryview:
    # Whoever truncates the file while it is read kills this process: the price of not loading it.
    return memoryview(mmap.mmap(source.file.fileno(), 0, access=mmap.ACCESS_READ))[source.position :]


def _read_npz(whole: Source, on_array: OnArray) -> dict[str, object]:
    try:
        archive = zipfile.ZipFile(whole.file)
        members = archive.infolist()
        used = sum(member.compress_size for member in members)
        require(used <= whole.size, f"its members say that they take {used} bytes, and the file has {whole.size}")
    except _ZIP_FAILURES as error:
        raise RefusedPickle(f"{whole.name}: refused: {_printable(error)}") from error
    tree: dict[str, object] = {}
    with archive:
        for member in members:
            name = member.filename.removesuffix(".npy")
            source = _open_member(whole, archive, member, name in tree)
            with source.file:
                tree[name] = _read_npy(source, on_array, _load)
                try:
                    _expect_end(source)  # of the pickle of an object array; others have come to it
                except FAILURES as error:
                    raise source.refusal(source.position, error) from error
    return tree


def _open_member(whole: Source, archive: zipfile.ZipFile, member: zipfile.ZipInfo, is_known: bool) -> Source:
    name = f"{whole.name}!{_printable(member.filename)}"
    method, size, paid = member.compress_type, member.file_size, member.compress_size
    most = paid if method == zipfile.ZIP_STORED else MOST_INFLATION * paid
    try:
        require(member.filename.endswith(".npy"), "it is no .npy; an .npz of arrays is read")
        require(not is_known, "it is the second member of this name")
        require(not member.flag_bits & 0x1, "it is encrypted")
        require(method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED), f"compression method {method}; 0 and 8 are read")
        require(size <= most, f"its entry says {size} bytes, made of {paid}; at most {most} are read")
        endless = copy.copy(member)
        endless.file_size = sys.maxsize  # or zipfile would cut off what exceeds `size`, and it would go unseen
        return Source(archive.open(endless), size, name, paid)
    except _ZIP_FAILURES as error:
        raise RefusedPickle(f"{name}: refused: {_printable(error)}") from error


def _load(source: Source) -> memoryview:
    data = np.empty(source.size - source.position, np.uint8).data
    filled = 0
    while filled < len(data):
        chunk = source.file.read(min(_CHUNK, len(data) - filled))
        require(len(chunk) > 0, f"it ends {len(data) - filled} bytes before its entry says")
        data[filled : filled + len(chunk)] = chunk
        filled += len(chunk)
        source.position += len(chunk)
    _expect_end(source)
    return data


def _expect_end(source: Source) -> None:
    require(source.file.read(1) == b"", "more bytes follow than its entry says")  # zipfile compares the CRC here


def _printable(text: object) -> str:
    return ascii(str(text)[:300])[1:-1]


_NPY_FAILURES = (*FAILURES, SyntaxError, tokenize.TokenError)  # numpy parses headers as Python literals
_ZIP_FAILURES = (*FAILURES, RuntimeError, struct.error)
