"""Measure the speed of parts of the project, each against a baseline in the same run.

    python -m benchmarks.speed [--only ingest network] [--rounds 3]

The alternatives of a benchmark are timed in turn, round by round; the fastest round of each counts. A benchmark prints
its results, and ends with an error if the outputs differ. The docstring of its function describes the measurement.
"""

import argparse
import logging
import os
import tempfile
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import torch

from benchmarks.speed.amass import amass
from benchmarks.speed.lifting import cold, exports, lifting
from benchmarks.speed.stages import convert, ingest
from benchmarks.speed.training import feeding, frozen, network

BENCHMARKS = {
    each.__name__: each for each in (ingest, amass, convert, feeding, network, frozen, lifting, cold, exports)
}


def main() -> None:
    """Run the benchmarks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only", nargs="+", choices=list(BENCHMARKS), default=list(BENCHMARKS), help="benchmarks to run"
    )
    parser.add_argument("--rounds", type=int, default=3, help="rounds; the fastest one counts")
    parser.add_argument("--gigabytes", type=float, default=4.2, help="size of the pickle of the benchmark ingest")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="folder of temporary files")
    parser.add_argument(
        "--exports", type=Path, default=Path("exports"), help="folder of the exported files, which are kept"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    for name in options.only:
        print(f"\n{name}", flush=True)
        BENCHMARKS[name](options)


if __name__ == "__main__":
    main()
