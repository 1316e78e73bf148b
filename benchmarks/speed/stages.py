"""Speed of the stages ingest and convert."""

import argparse
import importlib
import logging
import multiprocessing
import pickle
import shutil
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow.parquet as parquet

from benchmarks.speed.timing import in_turn, print_rates
from data_contracts.clips import CLIPS_FILE, Clip, from_arrow
from data_contracts.parameters import ConvertParameters, PipelineParameters, Projection, ShortClips
from data_contracts.skeleton import PELVIS
from data_contracts.store.folders import StageResult
from flows.stages import run_stage
from tasks.convert.cameras import draw_camera, window_starts
from tasks.convert.convert import write_windows
from tasks.stage import Context
from tasks.synthetic.motion import generate
from tasks.tracking.runs import connect

T = TypeVar("T")
SPAWN = multiprocessing.get_context("spawn")
LONGEST = 2916  # frames of a clip in MotionBERT's file


def ingest(options: argparse.Namespace) -> None:
    """Compare the ingest stage with `pickle.load`, on a pickle of synthetic motion in AMASS's layout.

    Each runs in its own process. The stage includes digests, both passes, contracts, Parquet and an MLflow run, but not
    the start of Prefect. The output is the seconds of each, and its peak memory above the memory at the start.
    """
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        source, store = write_amass(Path(folder) / "amass.pkl", options.gigabytes), Path(folder) / "store"
        print(f"  {source.stat().st_size / 1e9:.2f} GB")
        context = Context(store, PipelineParameters())
        ways = {"pickle.load": partial(load, source), "ingest": partial(ingest_clips, context, source)}
        best = {}
        for name, work in ways.items():
            runs = [run_alone(work, store) for _ in range(options.rounds)]
            best[name] = min(seconds for seconds, _, _ in runs)
            peak = max(memory for _, memory, _ in runs)
            print(f"  {name:12}{best[name]:8.1f} s, peak {peak:,.0f} MB above the start", flush=True)
    print(f"  ratio {best['ingest'] / best['pickle.load']:.2f}")


def load(source: Path) -> int:
    """Return the number of clips of a pickle."""
    with source.open("rb") as file:
        return len(pickle.load(file))


def ingest_clips(context: Context, source: Path) -> StageResult:
    """Run the stage ingest."""
    return run_stage("ingest", context, source=str(source))


def write_amass(path: Path, gigabytes: float) -> Path:
    """Write a pickle of about `gigabytes`: float64 clips (17, frames, 3), moved, turned and scaled; return `path`."""
    clips = [clip[:, :LONGEST] for clip in generate(seed=0, people=24, seconds=12.0)[0]]
    random, arrays, total = np.random.default_rng(0), [], 0
    while total < gigabytes * 1e9:
        yaw, scale = random.uniform(0, 2 * np.pi), random.uniform(0.92, 1.08)
        turn = scale * np.array([[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])
        arrays += [np.ascontiguousarray(clip @ turn.T + [*random.uniform(-2, 2, 2), 0.0]) for clip in clips]
        total = sum(array.nbytes for array in arrays)
    with path.open("wb") as file:
        pickle.dump(arrays, file, protocol=4)
    return path


def run_alone(work: Callable[[], T], store: Path) -> tuple[float, float, T]:
    """Return seconds, peak MB above the start, and result of `work` in its own process with an empty store."""
    shutil.rmtree(store, ignore_errors=True)
    with ProcessPoolExecutor(1, mp_context=SPAWN) as pool:
        return pool.submit(_measured, work, store).result()


def _measured(work: Callable[[], T], store: Path) -> tuple[float, float, T]:
    logging.disable(logging.WARNING)
    connect(store)
    importlib.import_module("tasks.ingest.ingest")
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before, started = _memory_mb("VmRSS"), time.perf_counter()
    result = work()
    return time.perf_counter() - started, _memory_mb("VmHWM") - before, result


def _memory_mb(key: str) -> float:
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) / 1024


def convert(options: argparse.Namespace) -> None:
    """Compare the convert stage with the usual chain: one pickle file per window, in one process, without checks.

    The chain does what MotionBERT's `tools/convert_*.py` do. The function of the stage runs in two processes. Both
    make perspective windows: of 243 frames with stride 81, and of 27 frames with stride 9.
    """
    with tempfile.TemporaryDirectory(dir=options.folder) as folder, ProcessPoolExecutor(2, mp_context=SPAWN) as pool:
        source = write_amass(Path(folder) / "amass.pkl", 0.1)
        store = ingest_clips(Context(Path(folder) / "store", PipelineParameters()), source).path
        table = parquet.ParquetFile(store / CLIPS_FILE)
        batches = range(table.num_row_groups)
        clips = [clip for batch in table.iter_batches() for clip in from_arrow(batch)]
        for window, stride in ((243, 81), (27, 9)):
            parameters = ConvertParameters(
                window=window, stride=stride, views=1, projection=Projection.PERSPECTIVE, short_clips=ShortClips.DROP
            )
            out = Path(folder) / "out"
            ways: dict[str, Callable[[], object]] = {
                "one pickle per window": partial(usual_chain, clips, parameters, out),
                "stage, 2 processes": partial(write_all, store, parameters, batches, pool, out),
            }
            counts = {way() for way in ways.values()}
            if len(counts) > 1:
                raise SystemExit(f"different numbers of windows: {counts}")
            frames = sum(len(clip.poses) for clip in clips)
            print_rates(f"  windows of {window} frames", in_turn(ways, options.rounds), frames, "frames")


def usual_chain(clips: list[Clip], parameters: ConvertParameters, out: Path) -> int:
    """Write one pickle file per window; return the number of windows."""
    empty(out)
    count, window = 0, parameters.window
    for clip in clips:
        camera = draw_camera(clip.poses, clip.clip_id, 0, parameters)
        joints = (clip.poses - camera.position) @ camera.rotation.T
        image = joints[..., :2] / joints[..., 2:]
        target = (joints - joints[:, PELVIS : PELVIS + 1]).astype(np.float32)
        for start in window_starts(len(clip.poses), window, parameters.stride, pad=False):
            cut = image[start : start + window]
            low, high = cut.min(axis=(0, 1)), cut.max(axis=(0, 1))
            pose_2d = np.ones((window, 17, 3), dtype=np.float32)
            pose_2d[..., :2] = (cut - (low + high) / 2) * (2 / (high - low).max())
            with (out / f"{count:08d}.pkl").open("wb") as file:
                pickle.dump({"data_input": pose_2d, "data_label": target[start : start + window]}, file, protocol=4)
            count += 1
    return count


def write_all(store: Path, parameters: ConvertParameters, batches: range, pool: Executor, out: Path) -> int:
    """Write all windows with the function of the stage; return the number of windows."""
    empty(out)
    return sum(pool.map(partial(write_batch, store, out, parameters), batches))


def write_batch(store: Path, out: Path, parameters: ConvertParameters, batch: int) -> int:
    """Write the windows of one batch; return their number."""
    return int(write_windows(store, out, batch, parameters)["windows"].sum())


def empty(folder: Path) -> None:
    """Make an empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
