"""Clips to windows, against the usual chain of one pickle file per window, on the same clips in the same run.

    .venv/bin/python benchmarks/convert.py [--copies 4] [--rounds 3] [--folder DIR]

Clips are those of `../shared/data/cmu` (117, 92,932 frames), or synthetic ones where that is absent, `--copies` times
over. Both give one perspective view, in windows of 243 frames every 81, and of 27 every 9.

- usual: what MotionBERT's `tools/convert_*.py` do, well written. The clips are in memory; each is moved into the camera
  and projected at once, then every window is sliced, normalised to its bounding box and pickled (protocol 4: the input
  and the target, float32) into a file of its own. Nothing is checked. One process.
- here: `tasks.convert.convert.write_windows`, the function of the convert stage's workers, on every row group of the
  clip store: reading the clips, cameras, windows, ids, the window contract, Parquet. It runs in this process, in a pool
  of two processes as in the stage, and in two threads. Start-up, imports and Prefect are left out on both sides.

Clips shorter than the window are left out by both. They run in turn; the best of the rounds counts. Files go to
`--folder` (page cache, nothing is synced); each run starts with an empty one. Prints motion frames per second, and the
ratio.
"""

import argparse
import csv
import multiprocessing
import os
import pickle
import shutil
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import pyarrow.parquet as parquet

from data_contracts.clips import CLIP_SCHEMA, CLIPS_FILE, Clip, to_arrow
from data_contracts.parameters import ConvertParameters, IngestParameters, Projection, ShortClips
from data_contracts.skeleton import PELVIS
from data_contracts.store.digests import StageKey
from data_contracts.store.folders import open_stage
from tasks.convert.cameras import draw_camera, window_starts
from tasks.convert.convert import count_batches, write_windows

CMU = Path(__file__).parent.parent.parent / "shared" / "data" / "cmu"
FRAMES_PER_ROW_GROUP = 16_384  # as the ingest stage writes them


def main() -> None:
    """Measure and print, as described above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--copies", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    arguments = parser.parse_args()
    clips = load_clips(arguments.copies)
    frames = sum(len(clip.poses) for clip in clips)
    print(f"{len(clips)} clips, {frames:,} frames, one perspective view; best of {arguments.rounds}\n")
    print(f"{'window':>6} {'stride':>6}  {'':22}{'frames/s':>10}  {'ratio':>5}")
    spawn = multiprocessing.get_context("spawn")
    with (
        tempfile.TemporaryDirectory(dir=arguments.folder) as folder,
        ProcessPoolExecutor(2, mp_context=spawn) as pool,
        ThreadPoolExecutor(2) as threads,
    ):
        store = write_store(clips, Path(folder))
        batches = range(count_batches(store))
        for window, stride in ((243, 81), (27, 9)):
            parameters = ConvertParameters(
                window=window, stride=stride, views=1, projection=Projection.PERSPECTIVE, short_clips=ShortClips.DROP
            )
            ways: dict[str, Callable[[Path], int]] = {
                "usual, 1 process": partial(usual_chain, clips, parameters),
                "here, 1 process": partial(convert, store, parameters, batches, map),
                "here, 2 threads": partial(convert, store, parameters, batches, threads.map),
                "here, 2 processes": partial(convert, store, parameters, batches, pool.map),
            }
            seconds: dict[str, list[float]] = {name: [] for name in ways}
            ways["here, 2 processes"](empty(Path(folder)))  # starts the pool
            for _ in range(arguments.rounds):
                windows = set()
                for name, way in ways.items():
                    out = empty(Path(folder))
                    started = time.perf_counter()
                    windows.add(way(out))
                    seconds[name].append(time.perf_counter() - started)
                assert len(windows) == 1, f"different numbers of windows: {windows}"
            for name, taken in seconds.items():
                ratio = min(seconds["usual, 1 process"]) / min(taken)
                print(f"{window:6} {stride:6}  {name:22}{frames / min(taken):10,.0f}  {ratio:5.2f}")


def usual_chain(clips: list[Clip], parameters: ConvertParameters, out: Path) -> int:
    """One pickle file per window; gives the number of windows."""
    count, window = 0, parameters.window
    for clip in clips:
        camera = draw_camera(
            clip.poses, clip.clip_id, 0, parameters.seed, parameters.max_pitch_deg, parameters.projection
        )
        seen = (clip.poses - camera.position) @ camera.rotation.T
        image = seen[..., :2] / seen[..., 2:]
        target = (seen - seen[:, PELVIS : PELVIS + 1]).astype(np.float32)
        for start in window_starts(len(clip.poses), window, parameters.stride, pad=False):
            cut = image[start : start + window]
            flat = cut.reshape(-1, 2)
            low, high = flat.min(axis=0), flat.max(axis=0)
            pose_2d = np.ones((window, 17, 3), dtype=np.float32)
            pose_2d[..., :2] = (cut - (low + high) / 2) * (2 / (high - low).max())
            with (out / f"{count:08d}.pkl").open("wb") as file:
                pickle.dump({"data_input": pose_2d, "data_label": target[start : start + window]}, file, protocol=4)
            count += 1
    return count


def convert(store: Path, parameters: ConvertParameters, batches: range, run: Callable, out: Path) -> int:
    """The stage's own function on every batch, by `map` here or in a pool; gives the number of windows."""
    return sum(run(partial(write_batch, store, out, parameters), batches))


def write_batch(store: Path, out: Path, parameters: ConvertParameters, batch: int) -> int:
    """One batch; gives the number of windows."""
    return int(write_windows(store, out, batch, parameters)["windows"].sum())


def load_clips(copies: int) -> list[Clip]:
    """Every clip `copies` times, in memory."""
    if CMU.is_dir():
        motions = pickle.loads((CMU / "amass_joints_h36m_60.pkl").read_bytes())
        with (CMU / "clip_list.csv").open(encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    else:
        from tasks.synthetic.motion import generate

        motions, rows = generate(seed=0, people=16, seconds=14.0)
    poses = [np.ascontiguousarray(motion.transpose(1, 0, 2), dtype=np.float32) for motion in motions]
    one = [(row["fname"], row["subject"], row["action"], 60.0, pose) for row, pose in zip(rows, poses, strict=True)]
    return [Clip(clip_id, *fields) for clip_id, fields in enumerate(one * copies)]


def write_store(clips: list[Clip], folder: Path) -> Path:
    """The clips as the ingest stage leaves them."""
    groups: dict[str, int] = {}
    with open_stage(folder, StageKey("clips", "ingest", IngestParameters(), {"source": "benchmark"})) as stage:
        with parquet.ParquetWriter(
            stage.folder / CLIPS_FILE, CLIP_SCHEMA, compression="none", use_dictionary=False, write_statistics=False
        ) as writer:
            batch: list[Clip] = []
            for clip in clips:
                batch.append(clip)
                groups[clip.group] = groups.get(clip.group, 0) + 1
                if sum(len(c.poses) for c in batch) >= FRAMES_PER_ROW_GROUP or clip is clips[-1]:
                    writer.write_batch(to_arrow(batch, [{"stature": 1.7, "speed_max": 1.0}] * len(batch)))
                    batch = []
        stage.counts |= {"clips": len(clips), "frames": sum(len(clip.poses) for clip in clips)}
        stage.statistics |= {"groups": groups}
    return stage.folder


def empty(folder: Path) -> Path:
    """An empty folder for what one run writes."""
    shutil.rmtree(folder / "out", ignore_errors=True)
    (folder / "out").mkdir()
    return folder / "out"


if __name__ == "__main__":
    main()
