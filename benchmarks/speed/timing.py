"""Time alternatives in turn, and make synthetic windows."""

import time
from collections.abc import Callable
from pathlib import Path

from data_contracts.parameters import SYNTHETIC_FILE
from data_contracts.parameters.presets import load_preset
from flows.stages import run_stage
from tasks.stage import Context, get_or_compute
from tasks.synthetic.motion import CLIP_LIST_FILE, SYNTHESISE


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


def make_windows(store: Path, *changes: str) -> Path:
    """Return a windows folder of synthetic motion, converted with changes of the preset `demo`."""
    context = Context(store, load_preset("demo", ["synthetic.people=6", *changes]))
    motion = get_or_compute(SYNTHESISE, {}, context).path
    source, clip_list = str(motion / SYNTHETIC_FILE), str(motion / CLIP_LIST_FILE)
    clips = run_stage("ingest", context, source=source, clip_list=clip_list)
    return run_stage("convert", context, clips=clips.folder).path
