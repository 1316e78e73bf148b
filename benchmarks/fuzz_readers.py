"""Read mutated files; any outcome other than a valid result or a clean refusal is a finding.

    python -m benchmarks.fuzz_readers --count 300000 --seed 0
    python -m benchmarks.fuzz_readers --files archives --count 20000
    python -m benchmarks.fuzz_readers --files recordings --count 20000
    python -m benchmarks.fuzz_readers --files amass --count 20000
    python -m benchmarks.fuzz_readers --files benchmarks --count 20000
    python -m benchmarks.fuzz_readers --files keypoints --count 50000

`--files pickles`, `archives` (.npy, .npz) and `recordings` (BVH, C3D, TRC) test `read_motion_file`; `amass` tests
`read_body_motion` and the posing of bodies, `benchmarks` the import of published benchmarks. `--files keypoints` tests
`read_keypoints` and `tracks_of` with every `KeypointFormat`, also on mutated real keypoints from `--detections`.

Findings: an exception other than InputError, a file that takes longer than `--limit` seconds, a type that the reader
must not return, a broken contract, a refusal that is not one line with the file name, and exhausted recursion or memory
(4 GB). Each finding is copied to `--keep` and makes the exit code 1. The tested file is there too, also after a crash.
"""

import argparse
import collections
import itertools
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import FrameType

import numpy as np

from data_contracts.errors import InputError
from data_contracts.motion.body_models import find_body_models
from tasks.ingest.amass.body_models import load_models
from tasks.ingest.reading import read_motion_file
from tests.tasks.benchmarks.mutants import import_mutant, mutant_file, write_targets
from tests.tasks.ingest.amass.body_files import write_models
from tests.tasks.ingest.amass.mutants import motion_seeds, mutant_motion, pose_mutant
from tests.tasks.ingest.file_mutants import changed, mutant, mutant_archive, pickle_pieces, valid_arrays, valid_pickles
from tests.tasks.ingest.formats.recording_mutants import mutant_recording, valid_recordings
from tests.tasks.lifting.formats.keypoint_mutants import random_parameters, read_tracks_of, write_mutant
from tests.tasks.lifting.formats.keypoint_seeds import DETECTIONS, keypoint_seeds

Attempt = Callable[[], str]  # reads the tested file and returns the outcome


class TooSlow(BaseException):
    """Reading a file took too long; a reader that catches every `Exception` does not catch a `BaseException`."""


def main() -> None:
    """Run the fuzzer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = ("pickles", "archives", "recordings", "amass", "benchmarks", "keypoints")
    parser.add_argument("--files", choices=kinds, default="pickles")
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=float, default=5.0, help="longest time per file, in seconds")
    parser.add_argument("--keep", type=Path, default=Path("/tmp/fuzz_readers"))
    parser.add_argument("--detections", type=Path, default=DETECTIONS, help="folder of real keypoints")
    options = parser.parse_args()
    options.keep.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGALRM, too_slow)

    warnings.simplefilter("ignore")  # of numpy about headers
    resource.setrlimit(resource.RLIMIT_AS, (4 * 2**30, -1))

    generator = random.Random(options.seed)
    path = options.keep / f"{options.files}-seed{options.seed}"
    attempts = {"amass": bodies, "benchmarks": imports, "keypoints": tracks}.get(options.files, trees)(
        generator, options, path
    )
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
    """Write mutated motion files to `path`, one after the other, and yield a reader of each."""
    pickles = valid_pickles()
    opcodes, literals = pickle_pieces(pickles)
    arrays = valid_arrays(pickles)
    recordings = valid_recordings() if options.files == "recordings" else []
    for is_streamed in itertools.cycle((True, False)):
        if options.files == "archives":
            path.write_bytes(mutant_archive(generator, arrays))
        elif options.files == "recordings":
            path.write_bytes(mutant_recording(generator, recordings))
        else:
            path.write_bytes(mutant(generator, pickles, opcodes, literals))
        yield partial(read, path, is_streamed)


def bodies(generator: random.Random, _options: argparse.Namespace, path: Path) -> Iterator[Attempt]:
    """Write mutated motion files of AMASS to `path`, one after the other, and yield a reader of each."""
    seeds = motion_seeds()
    with tempfile.TemporaryDirectory() as folder:
        models = load_models(find_body_models(write_models(Path(folder))))
    while True:
        path.write_bytes(mutant_motion(generator, seeds))
        yield partial(pose_mutant, path, models)


def imports(generator: random.Random, _options: argparse.Namespace, path: Path) -> Iterator[Attempt]:
    """Write benchmarks to folder `path`, mutate one file after the other, and yield an import of each."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir()
    targets = write_targets(path)
    corpus = [file.read_bytes() for *_, file in targets]
    while True:
        benchmark, root, file = generator.choice(targets)
        valid = file.read_bytes()
        file.write_bytes(mutant_file(generator, valid, corpus))
        yield partial(import_mutant, benchmark, root)
        file.write_bytes(valid)


def tracks(generator: random.Random, options: argparse.Namespace, path: Path) -> Iterator[Attempt]:
    """Write mutated keypoint files or folders to `path`, one after the other, and yield a reader of each."""
    seeds = keypoint_seeds(options.detections)
    while True:
        write_mutant(generator, seeds, path, changed)
        yield partial(read_tracks_of, path, random_parameters(generator))


def within(limit: float, attempt: Attempt) -> str:
    """Return the outcome of an attempt, or a finding after `limit` seconds."""
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
    """Read a motion file and return the outcome."""
    try:
        tree = read_motion_file(path, (lambda array: float(array.sum())) if streaming else (lambda array: array))
        foreign = foreign_type(tree)
        return f"FINDING: a {foreign} in the tree" if foreign else "a clean tree"
    except InputError as refusal:
        cause = type(refusal.__cause__).__name__
        named = str(path) in str(refusal) and str(refusal).isprintable() and len(str(refusal)) < 1000
        return f"{'' if named and cause not in ('MemoryError', 'RecursionError') else 'FINDING: '}refused, by {cause}"


def foreign_type(tree: object) -> str | None:
    """Return the name of a type in the tree that the reader must not return."""
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
    """Stop reading the tested file: handle SIGALRM."""
    raise TooSlow


if __name__ == "__main__":
    main()
