"""Find the files of a benchmark that the user has: as its authors publish them, or preprocessed into an .npz."""

from dataclasses import dataclass
from pathlib import Path

from data_contracts.benchmarks.protocols import PROTOCOLS, Benchmark
from data_contracts.errors import InputError, some

TRUTH_3DHP, TRUTH_H36M, KEYPOINTS_H36M = "data_test_3dhp.npz", "data_3d_h36m.npz", "data_2d_h36m_*.npz"
_LAYOUTS = {
    Benchmark.THREE_DPW: "a folder with sequenceFiles/test/*.pkl (not a single file, and not another split)",
    Benchmark.MPI_INF_3DHP: f"a folder with TS1/annot_data.mat to TS6/annot_data.mat, or {TRUTH_3DHP}",
    Benchmark.H36M: f"a folder with {TRUTH_H36M} and one {KEYPOINTS_H36M}, or the latter file in such a folder",
}


@dataclass(frozen=True)
class BenchmarkFiles:
    """Files of a benchmark, in this `folder` or below, sorted by name."""

    benchmark: Benchmark
    folder: Path
    files: tuple[Path, ...]


def find_benchmark(benchmark: Benchmark, source: Path) -> BenchmarkFiles:
    """Return the files of a benchmark; `source` is a folder or, for 3DHP and Human3.6M, one preprocessed .npz file.

    Raises
    ------
    InputError
        The path does not exist or has another layout, or a folder has several files of 2D keypoints.
    """
    if not source.exists():
        raise InputError(f"{source}: no such file or folder")
    folder = source.parent if source.is_file() else source
    files: list[Path]
    match benchmark:
        case Benchmark.THREE_DPW:
            is_test = source.is_dir() and source.resolve().name not in ("train", "validation")
            places = (folder / "sequenceFiles" / "test", folder / "test", folder) if is_test else ()
            files = next(filter(None, (sorted(place.glob("[!.]*.pkl")) for place in places)), [])
        case Benchmark.MPI_INF_3DHP:
            packed = source if source.is_file() else folder / TRUTH_3DHP
            files = [packed] if packed.is_file() else sorted(folder.glob("TS[1-6]/annot_data.mat"))
        case Benchmark.H36M:
            files = [source] if source.is_file() else sorted(folder.glob(KEYPOINTS_H36M))
            if len(files) > 1:
                raise InputError(
                    f"{source}: several files of 2D keypoints ({some(_names(files))}); pass one of them as PATH"
                )
            truth = folder / TRUTH_H36M
            files = [*files, truth] if files and truth.is_file() and truth not in files else []
    if not files:
        raise InputError(
            f"{source}: no files of {benchmark}; expected {_LAYOUTS[benchmark]}. Register and download the files at"
            f" {PROTOCOLS[benchmark].page}"
        )
    return BenchmarkFiles(benchmark, folder, tuple(files))


def _names(files: list[Path]) -> list[str]:
    return [file.name for file in files]
