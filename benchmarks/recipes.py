"""What each part of the default network and recipe is worth: each row learns from the same people for as long.

    python -m benchmarks.recipes ../shared/data --store STORE [--minutes 10] [--split A B C] [--seed 0 1]

Data: every motion file of the folder. The splits name people whose body and motions nobody else has (docs/results.md,
*Both CMU sets, split honestly*); who is neither tested nor validated on trains. Rows are changes of preset `cpu`, or
its MLP. What a minute is says `benchmarks.equal_minutes`.

Test people by `model.scoring.evaluation`, flip averaged, each frame once; so windows of any length compare. `train` is
the same score on at most 2,000 training windows as they are stored; noise, missing and skeleton on as many of the test,
as reports have them, the skeleton that costs most. MFLOP: of a window's forward pass, without the geometry.

Each finished row is a line of the results (STORE/recipes.jsonl; ours are docs/recipes.jsonl); one that stands there is
not trained again, so that processes, one a core, can share a table. It is printed at the end, of all lines of so many
minutes: mean, then least and most of the seeds.
"""

import argparse
import itertools
import json
import platform
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from lightning_fabric import Fabric

from benchmarks.equal_minutes import SPLITS, Bench, make_windows, preset_of
from data_contracts.detector_skeletons import Detector
from model.network.flops import forward_mflop
from model.scoring.evaluation import evaluate, network_lifter
from model.scoring.robustness import evenly_drawn, score_robustness

RESULTS_FILE = "recipes.jsonl"
SOME = 2000


@dataclass(frozen=True)
class Row:
    """Changes of the preset; whether all minutes go into the first stage, or are shared as the preset's epochs are."""

    changes: tuple[str, ...] = ()
    one_stage: bool = True


def windows_of(frames: int, patch: int) -> Row:
    """Windows of another length, three of which cover a frame."""
    lengths = (f"convert.window={frames}", f"convert.stride={frames // 3}")
    return Row((*lengths, f"pretrain.network.patch={patch}"))


MLP = "mlp"
_CLEAN = "pretrain.corruption={}"
_PLAIN = "pretrain.augmentation={cameras: {}, bodies: {}}"
_NO_TRANSFORMER = ("pretrain.network.fusion_depth=0", "pretrain.network.stem_width=512")
ROWS = {
    MLP: Row(),
    "mlp, no varied poses": Row(("baselines.mlp.augmentation={cameras: {}, bodies: {}}",)),
    "cpu": Row(one_stage=False),
    "one stage": Row(),
    "no transformer": Row(_NO_TRANSFORMER),
    "no stem": Row(("pretrain.network.stem=none",)),
    "no geometry": Row(("pretrain.network.geometry=none",)),
    "adamw": Row(("pretrain.optimiser=adamw", "pretrain.learning_rate=1e-3")),
    "all as detectors see": Row(("pretrain.corruption.clean_share=0", "pretrain.corruption.skeletons_share=0.5")),
    "clean input": Row((_CLEAN,)),
    "clean input, no varied poses": Row((_CLEAN, _PLAIN)),
    "clean input, no varied poses, no transformer": Row((_CLEAN, _PLAIN, *_NO_TRANSFORMER)),
    "9 frames": windows_of(9, 3),
    "81 frames": windows_of(81, 27),
}


@dataclass
class Result:
    """A finished row: a line of the results."""

    row: str
    split: str
    seed: int
    minutes: float  # asked for
    spent: float  # validation included
    epochs: float
    mpjpe_mm: float
    p_mpjpe_mm: float
    pck_150: float
    mpjve_mm: float
    train_mpjpe_mm: float
    noise_mm: float | None  # of test people; none of a row that was measured before this was
    missing_mm: float | None
    skeleton_mm: float | None
    mflop: float  # forward, a window
    windows_per_second: float  # of training
    device: str
    torch: str

    @property
    def key(self) -> tuple[str, str, int, float]:
        """What is not done twice."""
        return self.row, self.split, self.seed, self.minutes


def main() -> None:
    """Run the benchmark as described above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="folder of AMASS pickles with their clip lists")
    parser.add_argument("--store", type=Path, required=True, help="keeps windows and results")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--split", nargs="+", choices=list(SPLITS), default=list(SPLITS))
    parser.add_argument("--seed", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--row", nargs="+", choices=list(ROWS), default=[MLP, "cpu"])
    parser.add_argument("--results", type=Path, help="file of finished rows; STORE/recipes.jsonl unless given")
    options = parser.parse_args()
    results = options.results or options.store / RESULTS_FILE
    wanted = list(itertools.product(options.split, options.seed, options.row))
    kinds = sorted({(split, row) for split, _, row in wanted})
    presets = [preset_of(ROWS[row].changes, split, 0) for split, row in kinds]
    folders = dict(zip(kinds, make_windows(options.data, options.store, presets), strict=True))
    for split, seed, name in wanted:
        if (name, split, seed, options.minutes) not in {result.key for result in read_results(results)}:
            print(f"{name}, split {split}, seed {seed}", flush=True)
            result = measure(folders[split, name], name, split, seed, options.minutes)
            with results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(vars(result)) + "\n")
            print(f"  {result.mpjpe_mm:.1f} mm, train {result.train_mpjpe_mm:.1f} mm", flush=True)
    print(table([result for result in read_results(results) if result.minutes == options.minutes]))


def measure(folder: Path, name: str, split: str, seed: int, minutes: float) -> Result:
    """Train a row and score it."""
    bench = Bench.of(folder, preset_of(ROWS[name].changes, split, seed))
    started = bench.clock()
    network, epochs, speed = bench.mlp(minutes) if name.startswith(MLP) else bench.lifter(minutes, ROWS[name].one_stage)
    spent = (bench.clock() - started) / 60
    lifter = network_lifter(network, bench.fabric, flip=True)
    scores = evaluate(lifter, bench.test, 256).scores
    stood = score_robustness({name: lifter}, bench.test, SOME, 256, bench.fabric).mpjpe_mm
    return Result(
        row=name,
        split=split,
        seed=seed,
        minutes=minutes,
        spent=spent,
        epochs=epochs,
        mpjpe_mm=scores.mpjpe_mm,
        p_mpjpe_mm=scores.p_mpjpe_mm,
        pck_150=scores.pck_150,
        mpjve_mm=scores.mpjve_mm,
        train_mpjpe_mm=evaluate(lifter, evenly_drawn(bench.windows.train, SOME), 256).scores.mpjpe_mm,
        noise_mm=stood["noise"][name],
        missing_mm=stood["missing"][name],
        skeleton_mm=max(errors[name] for shown, errors in stood.items() if shown in set(Detector)),
        mflop=forward_mflop(network, bench.test.window),
        windows_per_second=speed,
        device=processor(bench.fabric),
        torch=torch.__version__,
    )


def processor(fabric: Fabric) -> str:
    """What computed."""
    if fabric.device.type == "cuda":
        return torch.cuda.get_device_name(fabric.device)
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return names[0].split(":")[1].strip() if names else platform.processor()


def read_results(file: Path) -> list[Result]:
    """What is finished."""
    return [Result(**json.loads(line)) for line in file.read_text().splitlines()] if file.exists() else []


HEADER = (
    "row | split | seeds | MPJPE | P-MPJPE | PCK@150mm | MPJVE | train | noise, missing, skeleton |"
    " MFLOP | windows/s | epochs | minutes"
)


def table(results: list[Result]) -> str:
    """A line a row, split and minutes given: means over the seeds, and the range where there are several; mm, %."""
    frame = pd.DataFrame([vars(result) for result in results]).astype(
        {"noise_mm": float, "missing_mm": float, "skeleton_mm": float}
    )
    lines = [HEADER]
    for (row, split, given), rows in frame.groupby(["row", "split", "minutes"], sort=False):
        mean, mpjpe = rows.mean(numeric_only=True), rows["mpjpe_mm"]
        spread = f" ({mpjpe.min():.1f}-{mpjpe.max():.1f})" if len(rows) > 1 else ""
        lines.append(
            f"{row} | {split} | {len(rows)} | {mean.mpjpe_mm:.1f}{spread} | {mean.p_mpjpe_mm:.1f} |"
            f" {100 * mean.pck_150:.1f} | {mean.mpjve_mm:.2f} | {mean.train_mpjpe_mm:.1f} |"
            f" {mean.noise_mm:.1f}, {mean.missing_mm:.1f}, {mean.skeleton_mm:.1f} | {mean.mflop:.1f} |"
            f" {mean.windows_per_second:.0f} | {mean.epochs:.0f} | {mean.spent:.1f} of {given:g}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
