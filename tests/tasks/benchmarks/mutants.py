"""Mutated files of benchmarks, as `benchmarks.fuzz_readers` and tests read them."""

import io
import random
import zipfile
from pathlib import Path

import numpy as np

from data_contracts.benchmarks.clips import check_clip
from data_contracts.benchmarks.files import find_benchmark
from data_contracts.benchmarks.protocols import Benchmark
from data_contracts.errors import InputError
from data_contracts.parameters import KeypointsParameters
from tasks.benchmarks.importing import READERS
from tasks.synthetic.motion import generate
from tests.tasks.benchmarks.benchmark_files import write_3dhp_mat, write_3dhp_npz, write_3dpw, write_h36m
from tests.tasks.ingest.file_mutants import changed

Target = tuple[Benchmark, Path, Path]  # folder, and the file in it that is mutated


def write_targets(folder: Path) -> list[Target]:
    """Write a small valid copy of each layout to `folder`, and return the files to mutate."""
    walking = generate(seed=3, people=1, seconds=1.5)[0][0].transpose(1, 0, 2)[::8].astype(np.float32)
    made = [
        (Benchmark.THREE_DPW, write_3dpw(folder / "3dpw", walking)),
        (Benchmark.THREE_DPW, write_3dpw(folder / "3dpw-0", walking, protocol=0)),
        (Benchmark.MPI_INF_3DHP, write_3dhp_mat(folder / "3dhp", walking)),
        (Benchmark.MPI_INF_3DHP, write_3dhp_npz(folder / "3dhp-npz", walking)),
        (Benchmark.H36M, write_h36m(folder / "h36m", walking)),
    ]
    return [(name, root, file) for name, root in made for file in find_benchmark(name, root).files]


def mutant_file(generator: random.Random, valid: bytes, corpus: list[bytes]) -> bytes:
    """Return a changed file or, for an .npz, one with a changed member."""
    if not valid.startswith(b"PK") or generator.randrange(3) == 0:
        return changed(generator, valid, corpus)
    with zipfile.ZipFile(io.BytesIO(valid)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = generator.choice(list(members))
    members[name] = changed(generator, members[name], corpus)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, data in members.items():
            archive.writestr(member, data)
    return file.getvalue()


def import_mutant(benchmark: Benchmark, root: Path) -> str:
    """Read and check the clips as the stage does, and return the outcome."""
    try:
        with np.errstate(all="ignore"):
            for clip in READERS[benchmark](find_benchmark(benchmark, root), KeypointsParameters()):
                check_clip(clip)
    except InputError as error:
        text = str(error)
        return "refused" if text.isprintable() and len(text) < 1000 else f"FINDING: unclear refusal {text[:100]!r}"
    return "imported"
