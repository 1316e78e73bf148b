"""Read an untrusted motion file with one array in memory at a time; its first bytes determine the format.

- `pickle` is never called: `tasks.ingest.safe_pickle` reads pickles and object arrays, which numpy writes as pickles.
- The size of an .npz limits its content: a member may inflate to at most 200 times its size in the file, the compressed
  members together may not exceed the file, and each member must have the size in its directory entry and header.
- An .npy is mapped, not loaded, so its array may be larger than the memory.
"""

import copy
import mmap
import struct
import sys
import tokenize
import zipfile
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from data_contracts.errors import RefusedPickle
from data_contracts.other_files import BVH, C3D, PICKLE, TRC, kind_of_file
from data_contracts.skeleton import NUM_JOINTS
from tasks.ingest.formats.axes import OnArray
from tasks.ingest.formats.bvh import read_bvh
from tasks.ingest.formats.c3d import read_c3d
from tasks.ingest.formats.trc import read_trc
from tasks.ingest.pickled_arrays import PLAIN_DTYPE, count_items, plain_array, require
from tasks.ingest.safe_pickle import FAILURES, Source, read_pickle_stream, short_ascii

_READERS: Mapping[str | None, Callable[[Path, OnArray], object]] = {BVH: read_bvh, C3D: read_c3d, TRC: read_trc}

ZIP_BEGINS = (b"PK\x03\x04", b"PK\x05\x06")  # the second: an empty archive
MOST_INFLATION = 200  # bytes of a member per byte in the file; deflate allows up to 1032
MOST_IN_TREE = 64 * 2**20  # bytes of an array that stays in the tree, e.g. 300,000 names of 50 letters
_LONGEST_HEADER = 1000  # bytes; numpy writes 118 for all supported arrays
_CHUNK = 2**20


def read_motion_file(path: Path, on_array: OnArray) -> object:
    """Read an untrusted pickle, .npy, .npz, BVH, C3D or TRC; its first bytes determine the format.

    Parameters
    ----------
    path
        A pickle as `safe_pickle.read_pickle_stream` accepts it, an .npy, an .npz with stored or deflated members, or a
        BVH, C3D or TRC.
    on_array
        Called once, in file order, with each array of integers or floats that has at least one axis. The array is
        read-only, and the returned value replaces it in the result. Other arrays and scalars are not replaced.

    Returns
    -------
    object
        For a pickle its nested containers, for an .npy its array, for an .npz a dict of arrays by member name (without
        .npy). An object array without axes is replaced by its item. For a BVH, C3D or TRC a `MetricTree`.

    Raises
    ------
    RefusedPickle
        The file is missing or damaged, contains objects other than arrays and plain containers, or declares more data
        than it can contain. Errors of `on_array` are raised unchanged.
    InputError
        A BVH, C3D or TRC is damaged, or does not have the joints or markers of a body.
    OSError
        The file cannot be opened.
    """
    if not path.is_file():  # opening a pipe would wait for its writer
        raise RefusedPickle(f"{path}: file not found")
    with path.open("rb") as file:
        start = file.read(64)
        file.seek(0)
        source = Source(file, path.stat().st_size, str(path))
        if start.startswith(ZIP_BEGINS):
            return _read_npz(source, on_array)
        if start.startswith(npy.MAGIC_PREFIX):
            return _read_npy(source, on_array, _map)
        kind = kind_of_file(start)
        if read := _READERS.get(kind):
            return read(path, on_array)
        if kind and kind != PICKLE:
            raise RefusedPickle(
                f"{path}: is {kind}; only BVH, C3D, TRC, and positions of joints in a pickle, .npy or .npz are read;"
                f" convert it to BVH or to an array (frames, {NUM_JOINTS}, 3)"
            )
        return read_pickle_stream(source, lambda array: _pass_on(source, array, on_array))


def read_members(path: Path, names: Collection[str], most_bytes: int) -> dict[str, np.ndarray]:
    """Return the arrays with these `names` of an untrusted .npz; other members are not read.

    Raises
    ------
    RefusedPickle
        The file is missing or not a valid .npz, an array has objects as elements, or the arrays take more than
        `most_bytes`.
    """
    if not path.is_file():
        raise RefusedPickle(f"{path}: file not found")
    try:
        with path.open("rb") as file:
            source = Source(file, path.stat().st_size, str(path))
            tree = _read_npz(source, lambda array: array, names, most_bytes)
    except OSError as error:
        raise RefusedPickle(f"{path}: cannot be read ({error.strerror})") from error
    return {name: np.asarray(array) for name, array in tree.items()}


def _pass_on(source: Source, array: np.ndarray, on_array: OnArray) -> object:
    if array.ndim and array.dtype.kind in "iuf":
        return on_array(array)
    if array.nbytes > MOST_IN_TREE:
        raise RefusedPickle(
            f"{source.name}: an array of {array.dtype.name} {array.shape} takes {array.nbytes} bytes; an array that is"
            f" not a motion may take at most {MOST_IN_TREE} bytes"
        )
    return array


def _read_npy(source: Source, on_array: OnArray, load: Callable[[Source], memoryview], objects: bool = True) -> object:
    """Read all of `source` as an .npy; `load` returns the bytes of numbers, `objects` allows an object array."""
    try:
        shape, is_fortran, dtype = _read_header(source)
        left = source.size - source.position
        require(objects or dtype.kind != "O", "has an object array; expected only arrays of numbers or text here")
        if dtype.kind != "O":
            size = dtype.itemsize * count_items(shape)
            require(size == left, f"an array {shape} of {dtype} takes {size} bytes, but {left} bytes follow its header")
            array = plain_array(dtype, load(source), shape, "F" if is_fortran else "C")
    except _NPY_FAILURES as error:
        raise source.refusal(source.position, error) from error
    if dtype.kind != "O":
        return _pass_on(source, array, on_array)
    tree = read_pickle_stream(source, lambda array: _pass_on(source, array, on_array))
    if type(tree) is not np.ndarray or tree.dtype != dtype or tree.shape != shape:
        reason = ValueError(f"the header declares an object array {shape}, but the pickle contains something else")
        raise source.refusal(source.size - left, reason)
    return tree.item() if tree.ndim == 0 else tree


def _read_header(source: Source) -> tuple[tuple[int, ...], bool, np.dtype]:
    end, source.size = source.size, min(source.size, _LONGEST_HEADER)  # numpy reads first and then checks the length
    version = npy.read_magic(source)  # type: ignore[arg-type]  # needs only `read`
    require(version in ((1, 0), (2, 0)), f"an .npy header of version {version}; supported: 1.0 and 2.0")
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, is_fortran, dtype = read(source, max_header_size=_LONGEST_HEADER)  # type: ignore[arg-type]
    source.size = end
    is_plain = dtype.names is None and dtype.subdtype is None and PLAIN_DTYPE.fullmatch(dtype.str[1:]) is not None
    require(is_plain, f"an array of dtype {str(dtype)[:50]}; supported: numbers, bool, str, bytes and object")
    return shape, is_fortran, dtype


def _map(source: Source) -> memoryview:
    # If another process truncates the file now, this process dies (SIGBUS): the price of mapping the file.
    return memoryview(mmap.mmap(source.file.fileno(), 0, access=mmap.ACCESS_READ))[source.position :]


def _read_npz(
    whole: Source, on_array: OnArray, wanted: Collection[str] | None = None, most_bytes: int = 0
) -> dict[str, object]:
    """Return the members of an .npz by name; with `wanted`, only these, in `most_bytes` and without object arrays."""
    try:
        archive = zipfile.ZipFile(whole.file)
        members = archive.infolist()
        used = sum(member.compress_size for member in members)
        require(used <= whole.size, f"its members declare {used} compressed bytes, but the file has {whole.size}")
    except _ZIP_FAILURES as error:
        raise RefusedPickle(f"{whole.name}: refused: {short_ascii(error)}; save the file again") from error
    names = {member.filename.removesuffix(".npy") for member in members}
    if wanted is None and "trans" in names and names & {"poses", "pose_body"}:
        raise RefusedPickle(
            f"{whole.name}: has parameters of a body model, as in AMASS; pass --body-model DIR (docs/motion.md)"
        )
    tree: dict[str, object] = {}
    with archive:
        for member in members:
            name = member.filename.removesuffix(".npy")
            if wanted is not None and name not in wanted:
                continue
            source = _open_member(whole, archive, member, name in tree, None if wanted is None else most_bytes)
            most_bytes -= source.size
            with source.file:
                tree[name] = _read_npy(source, on_array, _load, objects=wanted is None)
                try:
                    _expect_end(source)  # for the pickle of an object array; other arrays have been checked
                except FAILURES as error:
                    raise source.refusal(source.position, error) from error
    return tree


def _open_member(
    whole: Source, archive: zipfile.ZipFile, member: zipfile.ZipInfo, is_known: bool, most_bytes: int | None
) -> Source:
    name = f"{whole.name}!{short_ascii(member.filename)}"
    method, size, paid = member.compress_type, member.file_size, member.compress_size
    most = paid if method == zipfile.ZIP_STORED else MOST_INFLATION * paid
    most = most if most_bytes is None else most_bytes
    try:
        require(member.filename.endswith(".npy"), "the member is not an .npy; an .npz may contain only arrays")
        require(not is_known, "another member has the same name")
        require(not member.flag_bits & 0x1, "the member is encrypted")
        require(
            method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED), f"compression method {method}; supported: 0 and 8"
        )
        require(
            size <= most, f"its entry declares {size} bytes from {paid} compressed bytes; at most {most} are allowed"
        )
        endless = copy.copy(member)
        endless.file_size = sys.maxsize  # else zipfile would silently cut bytes beyond `size`
        return Source(archive.open(endless), size, name, paid)
    except _ZIP_FAILURES as error:
        raise RefusedPickle(f"{name}: refused: {short_ascii(error)}; save the file again") from error


def _load(source: Source) -> memoryview:
    data = np.empty(source.size - source.position, np.uint8).data
    filled = 0
    while filled < len(data):
        chunk = source.file.read(min(_CHUNK, len(data) - filled))
        require(len(chunk) > 0, f"the member ends {len(data) - filled} bytes before the size in its entry")
        data[filled : filled + len(chunk)] = chunk
        filled += len(chunk)
        source.position += len(chunk)
    _expect_end(source)
    return data


def _expect_end(source: Source) -> None:
    require(source.file.read(1) == b"", "more bytes follow than its entry declares")  # zipfile compares the CRC here


_NPY_FAILURES = (*FAILURES, SyntaxError, tokenize.TokenError)  # numpy parses headers as Python literals
_ZIP_FAILURES = (*FAILURES, RuntimeError, struct.error)
