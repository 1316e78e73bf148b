"""The whole ingest stage on a pickle of the published AMASS size, against `pickle.load` of the same file.

    .venv/bin/python benchmarks/ingest.py [--gigabytes 4.2] [--rounds 3] [--folder DIR]

Writes, once, a pickle in the published layout (protocol 4, a list of some 13,000 float64 arrays (17, frames, 3),
metres, z up) into DIR: the clips of `../shared/data/cmu`, or synthetic ones where that is absent, over and over, each
time as another body (scaled) that walks elsewhere (turned, moved), so that none is a duplicate. Then, in fresh
processes and in turn:

- `pickle.load` of the file;
- the stage as the flow runs it: digest of the source, both passes, contracts, Parquet, quarantine file, digests of
  what was written, and its run in MLflow. Prefect's own start-up is left out.

Prints the seconds of both (the best of the rounds), their ratio, and the peak resident memory above what the process
held before, with the bound: 300 MB and three times the largest clip.
"""

import argparse
import json
import pickle
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

CMU = Path(__file__).parent.parent.parent / "shared" / "data" / "cmu" / "amass_joints_h36m_60.pkl"
MEASURED = {
    "pickle.load": """
import pickle
def work():
    with open(source, "rb") as file:
        return len(pickle.load(file))
""",
    "ingest": """
from pathlib import Path
from data_contracts.parameters import IngestParameters
from data_contracts.sources import MotionFile
from tasks.ingest.ingest import ingest_clips
from tasks.tracking.runs import connect
from prefect.logging import disable_run_logger
connect(Path(store))
def work():
    with disable_run_logger():
        return ingest_clips.fn(Path(store), [MotionFile(Path(source))], IngestParameters()).counts
""",
}
MEASURE = """
import json, logging, re, sys, time
source, store = sys.argv[1:]
logging.disable(logging.WARNING)
{setup}
status = lambda key: int(re.search(key + r":\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024
open("/proc/self/clear_refs", "w").write("5")  # the peak starts anew
before, start = status("VmRSS"), time.perf_counter()
result = work()
print(json.dumps([time.perf_counter() - start, status("VmHWM") - before, result]))
"""


def main() -> None:
    """Generate, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=4.2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "uplift-benchmark")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    source = arguments.folder / f"amass_{arguments.gigabytes:g}.pkl"
    if not source.is_file():
        write_published_layout(source, arguments.gigabytes)
    seconds: dict[str, list[float]] = {name: [] for name in MEASURED}
    peak: dict[str, float] = dict.fromkeys(MEASURED, 0.0)
    for _ in range(arguments.rounds):
        for name, setup in MEASURED.items():
            took, memory, result = measure(setup, source)
            seconds[name].append(took)
            peak[name] = max(peak[name], memory)
            print(f"{name:12} {took:7.1f} s  peak {memory:7.0f} MB above baseline  {result}", flush=True)
    best = {name: min(values) for name, values in seconds.items()}
    largest = largest_clip_mb(source)
    print(
        f"\n{source.stat().st_size / 1e9:.2f} GB: pickle.load {best['pickle.load']:.1f} s, the stage"
        f" {best['ingest']:.1f} s: {best['ingest'] / best['pickle.load']:.2f} times (bound 5)"
        f"\npeak {peak['ingest']:.0f} MB above baseline (bound {300 + 3 * largest:.0f} MB: 300 + 3 x the largest clip,"
        f" {largest:.1f} MB); pickle.load {peak['pickle.load']:.0f} MB"
    )


def write_published_layout(path: Path, gigabytes: float) -> None:
    """A pickle of about that size, as MotionBERT's script writes it: one `pickle.dump` of the list."""
    clips = base_clips()
    random = np.random.default_rng(0)
    arrays: list[np.ndarray] = []
    total = 0
    while total < gigabytes * 1e9:
        yaw, scale = random.uniform(0, 2 * np.pi), random.uniform(0.92, 1.08)
        turn = scale * np.array([[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])
        arrays += [np.ascontiguousarray(clip @ turn.T + [*random.uniform(-2, 2, 2), 0.0]) for clip in clips]
        total = sum(array.nbytes for array in arrays)
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        pickle.dump(arrays, file, protocol=4)
    partial.replace(path)


def base_clips() -> list[np.ndarray]:
    """Clips (17, frames, 3), cut to at most 2916 frames as MotionBERT's script cuts them."""
    if CMU.is_file():
        clips = pickle.loads(CMU.read_bytes())
    else:
        from tasks.synthetic.motion import generate

        clips = generate(seed=0, people=24, seconds=12.0)[0]
    return [clip[:, start : start + 2916] for clip in clips for start in range(0, clip.shape[1] - 60, 2916)]


def measure(setup: str, source: Path) -> tuple[float, float, object]:
    """Seconds, peak MB above the process's baseline, and result, in a fresh process with an empty store."""
    store = tempfile.mkdtemp(dir=source.parent)
    try:
        command = [sys.executable, "-c", MEASURE.format(setup=setup), str(source), store]
        output = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).parent.parent)
        return tuple(json.loads(output.stdout.strip().splitlines()[-1]))
    except subprocess.CalledProcessError as error:
        raise SystemExit(error.stderr) from error
    finally:
        shutil.rmtree(store)
        time.sleep(1)


def largest_clip_mb(source: Path) -> float:
    """Largest array of the file, in MB as float64."""
    from tasks.ingest.safe_pickle import read_pickle

    sizes: list[int] = []
    read_pickle(source, lambda array: sizes.append(array.nbytes))
    return max(sizes) / 1e6


if __name__ == "__main__":
    main()
