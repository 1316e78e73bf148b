"""Measure parts of the default network and recipe: each row trains on the same subjects for the same minutes.

    python -m benchmarks.recipes DATA --store STORE [--minutes 10] [--split A B C] [--seed 0 1]

DATA is a folder of motion files. Rows are changes of the preset `dstformer`, or its MLP baseline;
docs/results.md describes data and splits, `benchmarks.equal_minutes` the minutes.

- Scores are of test subjects in the cameras of the row, with flip averaging. `orthographic` is the score of the same
  subjects in orthographic cameras. `train` is the score on at most 2,000 training windows; noise, missing and skeleton
  (the worst one) are on 2,000 test windows.
- *Wrong signs* is the share of bones on the wrong side in depth, among those that reach more than 5 cm towards
  or away from the camera; the next column is the MPJPE if they were on the right side.
- Each finished row is a line of STORE/recipes.jsonl and is not trained again, so several processes can share a table.
- The table shows the mean, lowest and highest score of the seeds.
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
from data_contracts.skeleton import BONES
from model.data.loading import WindowTensors, load_windows
from model.lifting.lifter import Lifter
from model.network.flops import forward_mflop
from model.scoring.evaluation import Method, evaluate, evenly_drawn, method_of, score_robustness
from model.scoring.metrics import mpjpe

RESULTS_FILE = "recipes.jsonl"
SOME = 2000
DEEP_MM = 50


@dataclass(frozen=True)
class Row:
    """A row of the table: changes of the preset. `one_stage`: all minutes go into pretraining, not fine-tuning."""

    changes: tuple[str, ...] = ()
    one_stage: bool = True


def windows_of(frames: int, patch: int) -> Row:
    """Return a row with windows of `frames` frames and tokens of `patch` frames; three windows contain each frame."""
    lengths = (f"convert.window={frames}", f"convert.stride={frames // 3}")
    return Row((*lengths, f"pretrain.network.patch={patch}"))


MLP = "mlp"
_CLEAN = "pretrain.corruption={}"
_PLAIN = "pretrain.augmentation={cameras: {}, bodies: {}}"
_ORTHOGRAPHIC = "convert.projection=orthographic"
ROWS = {
    MLP: Row(),
    "two stages": Row(one_stage=False),
    "one stage": Row(),
    "orthographic cameras": Row((_ORTHOGRAPHIC,)),
    "20 frames per second": Row(("convert.fps=20", "convert.stride=3")),
    "no stem": Row(("pretrain.network.stem=none",)),
    "no geometry": Row(("pretrain.network.geometry=none",)),
    "adamw": Row(("pretrain.optimiser=adamw", "pretrain.learning_rate=1e-3")),
    "all as detectors see": Row(("pretrain.corruption.clean_share=0", "pretrain.corruption.skeletons_share=0.5")),
    "clean input": Row((_CLEAN,)),
    "clean input, no varied poses": Row((_CLEAN, _PLAIN)),
    "9 frames": windows_of(9, 3),
    "81 frames": windows_of(81, 27),
}


@dataclass
class Result:
    """Scores and costs of a finished row."""

    row: str
    split: str
    seed: int
    minutes: float  # requested
    spent: float  # validation included
    epochs: float
    mpjpe_mm: float
    p_mpjpe_mm: float
    pck_150: float
    mpjve_mm: float
    orthographic_mm: float | None
    train_mpjpe_mm: float
    noise_mm: float | None  # None in rows of earlier versions
    missing_mm: float | None
    skeleton_mm: float | None
    mflop: float  # per window, forward
    windows_per_second: float  # in training
    device: str
    torch: str
    wrong_signs: float | None = None  # None in rows of earlier versions
    right_signs_mm: float | None = None

    @property
    def key(self) -> tuple[str, str, int, float]:
        """Row name, split, seed and requested minutes, which together identify a result."""
        return self.row, self.split, self.seed, self.minutes


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="folder of motion files with clip lists")
    parser.add_argument("--store", type=Path, required=True, help="folder of windows and results")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--split", nargs="+", choices=list(SPLITS), default=list(SPLITS))
    parser.add_argument("--seed", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--row", nargs="+", choices=list(ROWS), default=[MLP, "one stage"])
    parser.add_argument("--results", type=Path, help="file of finished rows; default: STORE/recipes.jsonl")
    options = parser.parse_args()
    results = options.results or options.store / RESULTS_FILE
    wanted = list(itertools.product(options.split, options.seed, options.row))
    kinds = sorted({(split, row) for split, _, row in wanted})
    changes = [(split, ROWS[row].changes) for split, row in kinds]
    presets = [preset_of((*rows, *more), split, 0) for more in ((), (_ORTHOGRAPHIC,)) for split, rows in changes]
    made = make_windows(options.data, options.store, presets)
    folders = dict(zip(kinds, zip(made[: len(kinds)], made[len(kinds) :], strict=True), strict=True))
    for split, seed, name in wanted:
        if (name, split, seed, options.minutes) not in {result.key for result in read_results(results)}:
            print(f"{name}, split {split}, seed {seed}", flush=True)
            result = measure(*folders[split, name], name, split, seed, options.minutes)
            with results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(vars(result)) + "\n")
            print(f"  {result.mpjpe_mm:.1f} mm, train {result.train_mpjpe_mm:.1f} mm", flush=True)
    print(table([result for result in read_results(results) if result.minutes == options.minutes]))


def measure(folder: Path, orthographic: Path, name: str, split: str, seed: int, minutes: float) -> Result:
    """Train and score a row on the windows of `folder`, and score it on the test windows of `orthographic`."""
    bench = Bench.of(folder, preset_of(ROWS[name].changes, split, seed))
    started = bench.clock()
    network, epochs, speed = bench.mlp(minutes) if name.startswith(MLP) else bench.lifter(minutes, ROWS[name].one_stage)
    spent = (bench.clock() - started) / 60
    method = method_of(Lifter(network, bench.test.window), bench.fabric)
    scores = evaluate(method, bench.test, 256).scores
    robust = score_robustness({name: method}, bench.test, SOME, 256, bench.fabric).mpjpe_mm
    return Result(
        row=name,
        split=split,
        seed=seed,
        minutes=minutes,
        spent=spent,
        epochs=epochs,
        **{name: scores[name] for name in ("mpjpe_mm", "p_mpjpe_mm", "pck_150", "mpjve_mm")},
        orthographic_mm=evaluate(method, load_windows(orthographic, "test"), 256).scores["mpjpe_mm"],
        train_mpjpe_mm=evaluate(method, evenly_drawn(bench.windows.train, SOME), 256).scores["mpjpe_mm"],
        noise_mm=robust["noise"][name],
        missing_mm=robust["missing"][name],
        skeleton_mm=max(errors[name] for condition, errors in robust.items() if condition in set(Detector)),
        mflop=forward_mflop(network, bench.test.window),
        windows_per_second=speed,
        device=processor(bench.fabric),
        torch=torch.__version__,
        **signs(method, evenly_drawn(bench.test, SOME)),
    )


def signs(method: Method, windows: WindowTensors) -> dict[str, float]:
    """Return the share of bones whose depth has the wrong sign, and the MPJPE (mm) if all signs were right.

    The share is of the bones that reach more than `DEEP_MM` towards the camera or away from it.
    """
    wrong, deep, errors = 0, 0, []
    parents, children = torch.tensor(BONES).T
    for batch in windows.batches(256):
        millimetres = (1000 / batch.scale).view(-1, 1, 1, 1)
        pred, truth = method(batch.pose_2d) * millimetres, batch.pose_3d * millimetres
        depth, true_depth = ((pose[..., children, 2] - pose[..., parents, 2]) for pose in (pred, truth))
        reaches = (true_depth.abs() > DEEP_MM) & (batch.frame_weight[..., None] > 0)
        flipped = reaches & (depth.sign() != true_depth.sign())
        wrong, deep = wrong + int(flipped.sum()), deep + int(reaches.sum())
        righted = torch.where(flipped, -depth, depth)
        pred = pred.clone()
        for bone, (parent, child) in enumerate(BONES):
            pred[..., child, 2] = pred[..., parent, 2] + righted[..., bone]
        errors.append(mpjpe(pred, truth)[batch.frame_weight > 0])
    return {"wrong_signs": wrong / deep, "right_signs_mm": float(torch.cat(errors).mean())}


def processor(fabric: Fabric) -> str:
    """Return the name of the GPU or CPU that trains."""
    if fabric.device.type == "cuda":
        return torch.cuda.get_device_name(fabric.device)
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return names[0].split(":")[1].strip() if names else platform.processor()


def read_results(file: Path) -> list[Result]:
    """Return the finished rows."""
    return [Result(**json.loads(line)) for line in file.read_text().splitlines()] if file.exists() else []


HEADER = (
    "row | split | seeds | MPJPE | P-MPJPE | PCK@150mm | MPJVE | orthographic | train | noise, missing, skeleton |"
    " wrong signs, % | if they were right | MFLOP | windows/s | epochs | minutes"
)


def table(results: list[Result]) -> str:
    """Return one line per row, split and minutes: means and ranges over the seeds, in mm and %."""
    optional = ("orthographic_mm", "noise_mm", "missing_mm", "skeleton_mm", "wrong_signs", "right_signs_mm")
    frame = pd.DataFrame([vars(result) for result in results]).astype(dict.fromkeys(optional, float))
    lines = [HEADER]
    for (row, split, minutes), rows in frame.groupby(["row", "split", "minutes"], sort=False):
        mean, mpjpe = rows.mean(numeric_only=True), rows["mpjpe_mm"]
        spread = f" ({mpjpe.min():.1f}-{mpjpe.max():.1f})" if len(rows) > 1 else ""
        lines.append(
            f"{row} | {split} | {len(rows)} | {mean.mpjpe_mm:.1f}{spread} | {mean.p_mpjpe_mm:.1f} |"
            f" {100 * mean.pck_150:.1f} | {mean.mpjve_mm:.2f} |"
            f" {mean.orthographic_mm:.1f} | {mean.train_mpjpe_mm:.1f} |"
            f" {mean.noise_mm:.1f}, {mean.missing_mm:.1f}, {mean.skeleton_mm:.1f} | {100 * mean.wrong_signs:.1f} |"
            f" {mean.right_signs_mm:.1f} | {mean.mflop:.1f} |"
            f" {mean.windows_per_second:.0f} | {mean.epochs:.0f} | {mean.spent:.1f} of {minutes:g}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
