"""Time several ways to do the same, and make synthetic windows."""

import itertools
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as parquet

from data_contracts.parameters import ConvertParameters, Projection
from data_contracts.windows import to_arrow
from tasks.convert.cameras import draw_camera, window_starts
from tasks.synthetic.motion import generate
from tests.projection import ANGLES, project_windows

ROW_GROUP_WINDOWS = 167  # as the convert stage writes windows of 243 frames: 16 MiB


def in_turn(
    ways: dict[str, Callable[[], object]], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, float]:
    """Return the seconds of the fastest round of each way, after a round of warm-up."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds + 1):
        for name, way in ways.items():
            started = clock()
            way()
            seconds[name].append(clock() - started)
    return {name: min(taken[1:]) for name, taken in seconds.items()}


def print_rates(title: str, seconds: dict[str, float], amount: float, unit: str) -> None:
    """Print the rate of each way, and its ratio to the rate of the first way."""
    print(title)
    baseline = next(iter(seconds.values()))
    for name, taken in seconds.items():
        print(f"  {name:34}{amount / taken:12,.1f} {unit}/s {baseline / taken:6.2f}x", flush=True)


def write_windows(folder: Path, count: int, window: int, stride: int) -> None:
    """Write a windows folder with a training split of `count` windows of synthetic motion."""
    (folder / "train").mkdir()
    clips, _ = generate(seed=0, people=6, seconds=12.0)
    for view in itertools.count():
        pieces = []
        for clip_id, clip in enumerate(clips):
            poses = clip.transpose(1, 0, 2).astype(np.float32)
            camera = draw_camera(
                poses, clip_id, view, ConvertParameters(max_pitch_deg=15, projection=Projection.ORTHOGRAPHIC)
            )
            pieces.append(project_windows(poses, window_starts(len(poses), window, stride, True), window, camera))
        arrays = {name: np.concatenate([piece[name] for piece in pieces])[:count] for name in pieces[0]}
        scalars = {name: arrays.pop(name) for name in ("scale", *ANGLES)}
        scale = scalars["scale"]
        rows = pd.DataFrame({"window_id": [f"{view}-{row}" for row in range(len(scale))], **scalars})
        rows[["clip_id", "group", "action", "split", "camera", "start", "fps"]] = 0, "g", "a", "train", view, 0, 60.0
        rows["projection"] = "orthographic"
        file = folder / "train" / f"part-{view:05d}.parquet"
        parquet.write_table(to_arrow(rows, arrays), file, compression="none", row_group_size=ROW_GROUP_WINDOWS)
        count -= len(scale)
        if not count:
            return
