"""Feed mutated files to the readers; anything but what they promise, or a clean refusal, is a finding.

    python -m benchmarks.fuzz_readers --count 300000 --seed 0
    python -m benchmarks.fuzz_readers --files archives --count 20000
    python -m benchmarks.fuzz_readers --files keypoints --count 50000

Mutates pickles, or, with `--files archives`, .npy and .npz, for `read_motion_file`, which promises a clean tree; with
`--files keypoints` every format of `KeypointFormat`, for `read_keypoints` and `tracks_of`, which promise tracks that
keep their contract (`benchmarks/keypoint_mutants.py`; real keypoints of `--detections`, if they are there, too). Prints
files per second, how often each outcome occurred, the slowest file and the most memory. A finding (another exception,
a file that takes longer than `--limit` seconds, an object of a foreign type in the tree, a broken contract, a refusal
that does not name the file in one line, recursion or 4 GB of address space run out of) is kept in `--keep` and makes
the exit code 1. The file under test lies there too, so a crash of the interpreter leaves it.

2026-11-23, 2 shared CPU cores, Python 3.11.7, numpy 2.4.6, `read_pickle` alone: seeds 31 and 32 with `--count 250000`,
both at once, no finding: 480,425 refused, 19,575 read, slowest 0.28 s, 510 files/s each (1490 files/s for one alone).

2026-11-23, the same: no finding. `--files archives --count 20000 --seed 7`: 18,480 refused, 1,520 read, slowest 1.3 s.
`--count 60000 --seed 41`, through `read_motion_file`: 57,644 refused, 2,356 read. Other work loaded both cores.
"""

import argparse
import collections
import io
import itertools
import pickle
import pickletools
import random
import resource
import shutil
import signal
import sys
import time
import traceback
import warnings
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import FrameType

import numpy as np

from benchmarks.keypoint_mutants import random_parameters, read_tracks_of, write_mutant
from benchmarks.keypoint_seeds import keypoint_seeds
from data_contracts.errors import RefusedPickle
from tasks.ingest.reading import read_motion_file

DETECTIONS = Path(__file__).parents[2] / "shared" / "detections"
Attempt = Callable[[], str]  # reads the file under test, and names the outcome

# Opcodes that a pickle of arrays does not contain, and arguments that lie.
# fmt: off
HOSTILE = [
    b"cposix\nsystem\n", b"\x8c\x05posix\x8c\x06system\x93", b"(iposix\nsystem\n", b"(cos\nsystem\no", b"\x82\x01",
    b"Pid\n", b"Q", b"\x81", b"\x92", b"\x97", b"\x98", b"\x80\xff", b"2\x86" * 40, b"\x85" * 300, b"]a" * 50,
    b"\x95\xff\xff\xff\xff\xff\xff\xff\x7f", b"\x8e\x00\x00\x00\x00\x00\x00\x00\x01", b"r\xff\xff\xff\xff", b"p-1\n",
    b"\x8a\x08\x00\x00\x00\x00\x00\x00\x00\x40", b"J\xff\xff\xff\xff", b"\x8b\xff\xff\xff\x7f", b"I" + b"9" * 5000,
    b"2", b"0", b"1", b"(", b".", b"}", b"]", b"\x8f", b"\x90", b"(\x91", b")R", b"}b", b"Nb", b"s", b"u", b"d", b"l",
    b"S'\\q'\n", b"U\x01\xff", b"F1e999\n", b"V\\ud800\n", b"cbuiltins\nset\n", b"cbuiltins\ncomplex\n", b"K\x00\x85",
]

# What an .npy header or an entry of a zip may say instead.
WORDS = [
    b"(", b")", b",", b"1,", b"-1", b"0", b"True", b"99999999999", b"9" * 30, b"'O'", b"'|O'", b"'<f2'", b"'<U1'",
    b"'<c8'", b"'V3'", b"'f4,i2'", b"[('a','<f4')]", b"{}", b"1L", b"#", b"\\", b"'", b"\n", b"((((", b"None", b"1e9",
]
NUMBERS = [
    b"\0\0\0\0", b"\1\0\0\0", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\x80", b"\0\x08", b"\x08\0", b"\x0c\0",
]
# fmt: on

LITERALS = frozenset(bytes([code]) for code in b"NIJKMLFGUTSVXBC\x8a\x8c\x88\x89\x8d\x8e\x96)]}")


class TooSlow(BaseException):
    """Past every `except`, so that the reader cannot take it for a failure of the file."""


def main() -> None:
    """Run the fuzzer as described above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", choices=("pickles", "archives", "keypoints"), default="pickles")
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=float, default=5.0, help="seconds a file may take")
    parser.add_argument("--keep", type=Path, default=Path("/tmp/fuzz_readers"))
    parser.add_argument("--detections", type=Path, default=DETECTIONS, help="folder of real keypoints to mutate too")
    options = parser.parse_args()
    options.keep.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGALRM, too_slow)

    warnings.simplefilter("ignore")  # numpy's, about headers
    resource.setrlimit(resource.RLIMIT_AS, (4 * 2**30, -1))

    generator = random.Random(options.seed)
    path = options.keep / f"{options.files}-seed{options.seed}"
    attempts = tracks(generator, options, path) if options.files == "keypoints" else trees(generator, options, path)
    outcomes: collections.Counter[str] = collections.Counter()
    slowest, started = 0.0, time.perf_counter()
    for number, attempt in zip(range(options.count), attempts, strict=False):
        begun = time.perf_counter()
        outcome = within(options.limit, attempt)
        slowest = max(slowest, time.perf_counter() - begun)
        outcomes[outcome] += 1
        if outcome.startswith("FINDING"):
            kept = path.with_name(f"finding-{path.name}-{number}")
            shutil.copytree(path, kept, dirs_exist_ok=True) if path.is_dir() else shutil.copy(path, kept)
            print(f"{kept}: {outcome}", flush=True)
    rate = options.count / (time.perf_counter() - started)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(
        f"{options.count} files, seed {options.seed}, {rate:.0f} files/s, slowest {slowest:.3f} s, {most} MiB at most"
    )
    for outcome, count in outcomes.most_common():
        print(f"{count:9d}  {outcome}")
    sys.exit(any(outcome.startswith("FINDING") for outcome in outcomes))


def trees(generator: random.Random, options: argparse.Namespace, path: Path) -> Iterator[Attempt]:
    """Write one mutated file of motion after the other to `path`; each with what reads it."""
    pickles = valid_pickles()
    opcodes = [piece for data in pickles for piece in pieces(data)] + HOSTILE * 20
    literals = [piece for piece in opcodes if piece[:1] in LITERALS]
    arrays = valid_arrays(pickles)
    for is_streamed in itertools.cycle((True, False)):
        if options.files == "archives":
            path.write_bytes(mutant_archive(generator, arrays))
        else:
            path.write_bytes(mutant(generator, pickles, opcodes, literals))
        yield partial(read, path, is_streamed)


def tracks(generator: random.Random, options: argparse.Namespace, path: Path) -> Iterator[Attempt]:
    """Write one mutated file or folder of keypoints after the other to `path`; each with what reads it."""
    seeds = keypoint_seeds(options.detections)
    while True:
        write_mutant(generator, seeds, path, changed)
        yield partial(read_tracks_of, path, random_parameters(generator))


def valid_pickles() -> list[bytes]:
    """Small pickles that the reader takes, of every protocol, with all memo opcodes and with the needed ones."""
    poses = np.arange(12.0).reshape(2, 2, 3)
    trees: list[object] = [
        [poses, poses, np.asfortranarray(poses), poses.transpose(1, 0, 2), poses.astype(">f8"), poses.astype("f2")],
        {"poses": [poses[0], (poses[1], None)], 3: {"fps": 60, "names": ["hip", "knee"]}, ("a", 1): frozenset("ab")},
        [np.array([[1], poses, "x"], dtype=object), np.array(["hip", "é"]), np.array(5.0), np.float32(2), np.str_("a")],
        [{1, 2}, b"", b"abc", bytearray(b"abc"), 1.5, -3, 2**70, 1j, True, "é\n", np.zeros((0, 3)), np.dtype(">f8")],
    ]
    dumps = [pickle.dumps(tree, protocol) for tree in trees for protocol in range(6)]
    return dumps + [pickletools.optimize(data) for data in dumps]


def valid_arrays(pickles: list[bytes]) -> list[bytes]:
    """An .npy of each kind, and object arrays that hold what `pickles` hold, in every protocol."""
    poses = np.arange(204.0).reshape(2, 2, 17, 3)
    numbers = [
        poses,
        np.asfortranarray(poses[0]),
        poses.astype(">f2"),
        np.array(5.0),
        np.array(["hip", "é"]),
        np.zeros(0),
    ]
    files = []
    for array in [*numbers, np.array([{"S1": poses}, "x"], dtype=object), np.array({"S1": poses}, dtype=object)]:
        file = io.BytesIO()
        np.save(file, array, allow_pickle=True)
        files.append(file.getvalue())
    head = files[-1][:128]
    for number, data in enumerate(pickles):
        holder = np.empty((), object)
        holder[()] = pickle.loads(data)
        files.append(head + pickle.dumps(holder, number % 6))
    return files


def archive(members: list[bytes], method: int) -> bytes:
    """An .npz of these members, with checksums that fit."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as made:
        for number, data in enumerate(members):
            made.writestr(f"{number}.npy", data)
    return file.getvalue()


def mutant_archive(generator: random.Random, corpus: list[bytes]) -> bytes:
    """An .npy changed by bytes, words and numbers, cut or spliced; an .npz so changed, or of changed members."""
    kind = generator.randrange(3)
    if kind == 0:
        return changed(generator, generator.choice(corpus), corpus)
    members, method = generator.choices(corpus, k=3), generator.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
    if kind == 1:
        return changed(generator, archive(members, method), corpus)
    return archive([members[0], changed(generator, members[1], corpus), members[2]], method)


def changed(generator: random.Random, valid: bytes, corpus: list[bytes]) -> bytes:
    """Bytes changed in one to three places, at random or where a header or an entry of the zip stands."""
    data = bytearray(valid)
    entries = [place for place in range(len(data)) if data.startswith((b"PK", b"\x93NUMPY"), place)] or [0]
    for _ in range(generator.randint(1, 3)):
        kind, place = generator.randrange(6), generator.randrange(len(data) + 1)
        if kind == 0:
            data[place : place + 1] = bytes([generator.randrange(256)])
        elif kind == 1:  # in an entry of the zip, or in the header of an array
            place = generator.choice(entries) + generator.randrange(130)
            number = generator.choice(NUMBERS)
            data[place : place + len(number)] = number
        elif kind == 2:  # the header keeps its length
            start = data.find(b"{'descr'", generator.choice(entries)) + generator.randrange(80)
            word = generator.choice(WORDS)
            data[start : start + len(word)] = word
        elif kind == 3:
            other = generator.choice(corpus)
            data[place:] = other[generator.randrange(len(other)) :]
        elif kind == 4 and not generator.randrange(4):
            del data[place:]
        elif kind == 5:
            data[place:place] = generator.choice([generator.randbytes(3), bytes(40), *HOSTILE[:8]])
    return bytes(data)


def pieces(data: bytes) -> list[bytes]:
    """The opcodes of a pickle, each with its argument."""
    places = [place for _, _, place in pickletools.genops(data)]
    return [data[start:end] for start, end in zip(places, [*places[1:], len(data)], strict=True)]


def mutant(generator: random.Random, corpus: list[bytes], pool: list[bytes], literals: list[bytes]) -> bytes:
    """A pickle changed by bytes, by arguments or by opcodes, cut, spliced, or made of opcodes at random."""
    data = generator.choice(corpus)
    kind = generator.randrange(7)
    if kind == 0:
        changed = bytearray(data)
        for _ in range(generator.randint(1, 8)):
            changed[generator.randrange(len(changed))] = generator.choice([generator.randrange(256), 0, 255, 46, 40])
        return bytes(changed)
    if kind == 1:
        return data[: generator.randrange(len(data))] + generator.choice([b"", b".", generator.randbytes(5)])
    if kind == 2:
        start, other = generator.randrange(len(data)), generator.choice(corpus)
        return data[:start] + other[generator.randrange(len(other)) :]
    if kind == 3:
        start = generator.randrange(len(data))
        return data[:start] + generator.choice(pool) + data[start + generator.randrange(4) :]
    if kind == 4:  # the same opcodes with other arguments, which gets furthest
        return b"".join(
            generator.choice(literals) if piece[:1] in LITERALS and not generator.randrange(20) else piece
            for piece in pieces(data)
        )
    opcodes = pieces(data) if kind == 5 else generator.choices(pool, k=generator.randint(1, 60))
    for _ in range(generator.randint(1, 6)):
        start = generator.randrange(len(opcodes))
        put_in = generator.choices(pool, k=generator.randrange(3)) + opcodes[start : start + generator.randrange(2)]
        opcodes[start : start + generator.randrange(3)] = put_in or [b"N"]
    return b"".join(opcodes) + generator.choice([b"", b"."])


def within(limit: float, attempt: Attempt) -> str:
    """What an attempt comes to, if it comes to anything within `limit` seconds."""
    signal.setitimer(signal.ITIMER_REAL, limit)
    try:
        return attempt()
    except TooSlow:
        return "FINDING: too slow"
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        return f"FINDING: {type(error).__name__} of {place.name}, line {place.lineno}: {str(error)[:100]!r}"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def read(path: Path, streaming: bool) -> str:
    """Read one file of motion and name the outcome."""
    try:
        tree = read_motion_file(path, (lambda array: float(array.sum())) if streaming else (lambda array: array))
        foreign = foreign_type(tree)
        return f"FINDING: a {foreign} in the tree" if foreign else "a clean tree"
    except RefusedPickle as refusal:
        cause = type(refusal.__cause__).__name__
        named = str(path) in str(refusal) and str(refusal).isprintable() and len(str(refusal)) < 1000
        return f"{'' if named and cause not in ('MemoryError', 'RecursionError') else 'FINDING: '}refused, by {cause}"


def foreign_type(tree: object) -> str | None:
    """Name a type in the tree that is not one of those the reader promises."""
    plain = (str, bytes, bytearray, int, float, complex, bool, type(None), np.generic, np.dtype)
    waiting, seen = [tree], set()
    while waiting:
        value = waiting.pop()
        if id(value) in seen or isinstance(value, plain) or value is np.ndarray:
            continue
        seen.add(id(value))
        if isinstance(value, list | tuple | set | frozenset):
            waiting += value
        elif isinstance(value, dict):
            waiting += [*value.keys(), *value.values()]
        elif isinstance(value, np.ndarray):
            waiting += value.ravel().tolist() if value.dtype == object else []
        else:
            return type(value).__name__
    return None


def too_slow(_signal: int, _frame: FrameType | None) -> None:
    """Stop the file under test."""
    raise TooSlow


if __name__ == "__main__":
    main()
