"""Mutated keypoint files, and the outcome of reading one; for tests and `benchmarks.fuzz_readers`.

JSON changes in its tree (values, lists, keys, copies) and its text (NaN, 1e999, depth), tables change in fields and
lines, arrays in shapes, types, values and headers, and all of them in their bytes.
"""

import io
import json
import random
import shutil
import zipfile
from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np

from data_contracts.detector_skeletons import Detector
from data_contracts.errors import InputError
from data_contracts.parameters import KeypointFormat, KeypointsParameters
from data_contracts.sources import find_keypoints
from data_contracts.tracks.table import find_faults, from_arrow, to_arrow
from tasks.lifting.formats.reading import read_keypoints
from tasks.lifting.tracks import tracks_of
from tests.tasks.lifting.formats.keypoint_seeds import Seed

Changed = Callable[[random.Random, bytes, list[bytes]], bytes]  # of an archive

# Replacements of numbers, lists and objects; `TEXTS` are inserted into the text without quotes.
# fmt: off
VALUES: list[Any] = [
    None, True, False, 0, -1, 1, 0.0, -0.0, 1e7, -1e300, 1e-300, 1e38, 2**31, 2**53, 2**62, 10**17, -(2**62), 1.5,
    "", "12", "nan", "\ud800", "a\nb", "é" * 300, "9" * 40, "../../x", [], {}, [[]], [{}], [0] * 51, [[0, 0]] * 17,
    [[0.5, 0.5, 0, 1]] * 33, {"x": 1, "y": 2}, [1, "2"], [None] * 3, [[1], [2, 3]], [True] * 51, [1e308] * 51,
]
NUMBERS = [
    0, 1, 2, 3, 7, 15, 400, 10**6, 10**9, -1, -0.4, 0.04, 0.06, 1.07, 1.6, 5.5, 19.0, 639.0, -50.0, 9e4, -1e5, 1e-300,
]
TEXTS = [
    "NaN", "Infinity", "-Infinity", "1e999", "-1e999", "9" * 30, "9" * 5000, "1" + "0" * 400 + ".0", "1e", "01",
    "[" * 3000, "[" * 300 + "]" * 300, '{"a":' * 300 + "1" + "}" * 300, "[" + "[]," * 2000 + "[]]", '"\\ud800"',
    "[" + "0," * 20_000 + "0]", '"', "", "'a'", "undefined", "\x00", "0x10", "+1", ".5",
]
FIELDS = [
    "", "nan", "inf", "-inf", "1e999", "-1", "1e30", "1.5", "9" * 5000, "abc", "1_0", " 7 ", '"', '"\n', "\x00", "0x1",
    "\ud7ff", "\uff11", "-0", "1e-320", "frame", "x", "landmark", "x0", "9" * 20, "9007199254740993", "px",
]
BYTES = [
    b"\xff\xfe", b"\xef\xbb\xbf", b"\x00", b"\xed\xa0\x80", b"\r", b"\n", b"\x85", b"\xe2\x80\xa8", b",", b"\t", b"[",
    b'"',
]
# fmt: on


def write_mutant(generator: random.Random, seeds: list[Seed], path: Path, changed: Changed) -> Path:
    """Write a changed seed to `path`, a file or a folder, replace what is there, and return the path."""
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    seed = generator.choice(seeds)
    if seed.kind == "folder":
        path.mkdir()
        for name, tree in _files(generator, seed.data).items():
            (path / name).write_bytes(_json(generator, tree))
    elif seed.kind == "texts":
        path.mkdir()
        for name, text in _files(generator, seed.data).items():
            (path / name).write_bytes(_table(generator, text.encode(), " "))
    elif seed.kind == "lines":
        path.write_bytes(b"\n".join(_json(generator, line) for line in seed.data))
    elif seed.kind == "json":
        path.write_bytes(_json(generator, seed.data))
    elif seed.kind == "table":
        path.write_bytes(_table(generator, seed.data))
    else:
        path.write_bytes(_archive(generator, seed.data, changed))
    return path


def _files(generator: random.Random, folder: dict[str, Any]) -> dict[str, Any]:
    files = dict(folder)
    if generator.random() < 0.3:  # a frame is missing or duplicate
        name = generator.choice(list(files))
        files[generator.choice(["0.json", "x.json", "-5.json", "9" * 25 + ".json", "a_000000000001_b.json", name])] = (
            files.pop(name)
        )
    return files


def _json(generator: random.Random, tree: Any) -> bytes:
    tree, texts = deepcopy(tree), []
    for _ in range(generator.choice([0, 1, 1, 1, 2, 3])):
        holder, key = _place(generator, tree)
        if holder is None:
            break
        kind = generator.randrange(10)
        if kind > 6 and isinstance(holder[key], int | float):
            holder[key] = generator.choice(NUMBERS)
        elif kind < 2:
            holder[key] = deepcopy(generator.choice(VALUES))
        elif kind == 2:
            texts.append(generator.choice(TEXTS))
            holder[key] = f"@{len(texts) - 1}@"
        elif kind == 3:
            del holder[key]
        elif kind == 4:
            other, place = _place(generator, tree)
            holder[key] = deepcopy(other[place])
        elif kind == 5 and isinstance(holder, list):
            holder[key:key] = deepcopy(holder[key : key + generator.choice([1, 1, 3])]) * generator.choice(
                [1, 1, 2, 250]
            )
        elif isinstance(holder, dict):
            holder[generator.choice(["frame", "landmarks", "instances", "x", "", "\ud800", "fps"])] = holder.pop(key)
    text = json.dumps(tree)
    for number, inner in enumerate(texts):
        text = text.replace(f'"@{number}@"', inner)
    return _bytes(generator, text.encode("utf-8", "surrogatepass"), often=4)


def _place(generator: random.Random, tree: Any) -> tuple[Any, Any]:
    """Return a random list or dict of the tree and one of its keys; all depths are equally likely."""
    holder, key, depth = None, None, generator.randint(1, 7)
    for _ in range(depth):
        inner = tree if holder is None else holder[key]
        if not isinstance(inner, list | dict) or not inner:
            break
        holder, key = (
            inner,
            generator.choice(list(inner)) if isinstance(inner, dict) else generator.randrange(len(inner)),
        )
    return holder, key


def _table(generator: random.Random, data: bytes, divider: str = ",") -> bytes:
    lines = data.decode().split("\n")
    divider = "\t" if lines[0].startswith("PathFileType") else divider
    for _ in range(generator.choice([0, 1, 1, 2, 3])):
        place, kind = generator.randrange(len(lines)), generator.randrange(6)
        fields = lines[place].split(divider)
        if kind < 3:
            fields[generator.randrange(len(fields))] = generator.choice(FIELDS)
            lines[place] = divider.join(fields)
        elif kind == 3:
            del fields[generator.randrange(len(fields))]
            lines[place] = divider.join(fields)
        elif kind == 4:
            lines[place:place] = lines[place : place + 1] * generator.choice([1, 2, 200])
        elif len(lines) > 1:
            del lines[place]
    return _bytes(generator, "\n".join(lines).encode(), often=4)


def _bytes(generator: random.Random, data: bytes, often: int) -> bytes:
    """Change up to three places, once in `often` calls."""
    if generator.randrange(often) or not data:
        return data
    made = bytearray(data)
    for _ in range(generator.randint(1, 3)):
        place, kind = generator.randrange(len(made) + 1), generator.randrange(5)
        if kind == 0 and place < len(made):
            made[place] ^= 1 << generator.randrange(8)
        elif kind == 1:
            del made[place:]
        elif kind == 2:
            made[place:place] = generator.choice(BYTES)
        elif kind == 3:
            made[place:place] = generator.randbytes(generator.randint(1, 4))
        else:
            del made[place : place + generator.choice([1, 2, 50])]
        if not made:
            break
    return bytes(made)


def _archive(generator: random.Random, arrays: dict[str, Any], changed: Changed) -> bytes:
    arrays = dict(arrays)
    for _ in range(generator.choice([0, 1, 1, 2])):
        name = generator.choice(list(arrays))
        with suppress(ValueError, OverflowError, TypeError):  # the type of the array cannot hold the number
            arrays[name] = _array(generator, arrays[name])
        if generator.random() < 0.2:
            other = generator.choice(
                ["fps", "width", "skeleton", "scores", "positions_2d", "metadata", "keypoints", "é"]
            )
            arrays[other] = generator.choice([arrays[name], -1, 0, np.nan, 1e9, "x", "coco18", [1, 2], {}, 10**30, 2.5])
    files = {}
    for name, array in arrays.items():
        file = io.BytesIO()
        try:
            np.save(file, np.asanyarray(array, object if isinstance(array, dict | list) else None), allow_pickle=True)
        except (ValueError, OverflowError):
            np.save(file, np.zeros(3))
        files[name] = file.getvalue()
    whole = files[""] if "" in files and generator.random() < 0.7 else _npz(generator, files)
    return changed(generator, whole, list(files.values())) if generator.random() < 0.4 else whole


def _npz(generator: random.Random, files: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    method = generator.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
    with zipfile.ZipFile(file, "w", method) as made:
        for name, data in files.items():
            made.writestr(f"{name or 'a'}.npy", data)
        if not generator.randrange(40):  # a decompression bomb of 8 MB
            bomb = io.BytesIO()
            np.save(bomb, np.zeros((20_000, 17, 3)))
            made.writestr("bomb.npy", bomb.getvalue(), zipfile.ZIP_DEFLATED)
    return file.getvalue()


def _array(generator: random.Random, value: Any) -> Any:
    if isinstance(value, dict):
        top = deepcopy(value)
        holder, key = _place(generator, top)
        if holder is not None:
            inner = holder[key]
            holder[key] = _array(generator, inner) if generator.random() < 0.5 else deepcopy(generator.choice(VALUES))
        return top
    if not isinstance(value, np.ndarray) or not value.size:
        return deepcopy(generator.choice(VALUES))
    array = value.copy()
    kind = generator.randrange(8)
    if kind == 0 and array.ndim:
        index = tuple(generator.randrange(side) for side in array.shape)
        array[index] = generator.choice([np.nan, np.inf, -np.inf, 1e30, -1e6, -3, 50, 9e4, 1e5, 0, 2**60])
    elif kind == 1:
        with np.errstate(all="ignore"):
            array = array.astype(generator.choice(["f2", "f4", ">f8", "i1", "i8", "u8", "?", "U5", "S3", "O", "c16"]))
    elif kind == 2:
        array = array[generator.choice([(slice(0),), (0,), (slice(None), slice(5)), (..., 0), (..., slice(1)), None])]
    elif kind == 3:
        array = np.repeat(array, generator.choice([2, 3, 250] if array.size < 10_000 else [2]), axis=0)
    elif kind == 4 and array.ndim > 1:
        array = array.swapaxes(*generator.sample(range(array.ndim), 2))
    elif kind == 5:
        array = array * generator.choice([0, -1, np.nan, 1e-3, 1e-300, 1e5, 1e300])
    elif kind == 6:
        array = np.asfortranarray(array)
    else:
        array[generator.randrange(len(array))] = generator.choice([0, np.nan, -1])
    return array


# ---- outcome of reading


def random_parameters(generator: random.Random) -> KeypointsParameters:
    """Return mostly default parameters, sometimes others, right or wrong."""
    size = {"width": 640, "height": 480} if generator.random() < 0.8 else {}
    return KeypointsParameters(
        format=generator.choice(list(KeypointFormat)) if generator.random() < 0.1 else KeypointFormat.AUTO,
        skeleton=generator.choice(list(Detector)) if generator.random() < 0.1 else None,
        fps=generator.choice([None, 30]),
        min_confidence=generator.choice([0, 0.05, 0.05, 0.5, 1.0]),
        max_gap=generator.choice([0, 10, 300]),
        **size,
    )


def read_tracks_of(path: Path, parameters: KeypointsParameters) -> str:
    """Read a keypoint file or folder like the stage, and return the outcome; findings start with FINDING."""
    try:
        videos, warnings = read_keypoints(find_keypoints(path), parameters)
        tracks = [track for video in videos for track in tracks_of(video, parameters.max_gap)]
    except InputError as refusal:
        text = str(refusal)
        cause = type(refusal.__cause__).__name__
        is_clean = str(path) in text and text.isprintable() and len(text) < 1000
        is_bounded = cause not in ("MemoryError", "_ArrayMemoryError")
        return f"refused, by {cause}" if is_clean and is_bounded else f"FINDING: refused, by {cause}: {text[:300]!r}"
    if any(not line.isprintable() or len(line) > 1000 for line in warnings):
        return f"FINDING: warns {warnings[0][:300]!r}"
    if not tracks:
        return "nobody is seen"
    table = to_arrow(tracks)
    faults = find_faults(table)
    if not faults.empty:
        return f"FINDING: tracks break their contract: {faults.to_dict('records')[0]}"
    return "tracks" if len(from_arrow(table)) == len(tracks) else "FINDING: tracks that run into each other"
