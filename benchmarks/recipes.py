"""What each part of the default network and recipe is worth: each row learns from the same people for as long.

    python -m benchmarks.recipes ../shared/data --store STORE [--minutes 10] [--split A B C] [--seed 0 1]

Data: every motion file of the folder. The splits name people whose body and motions nobody else has (docs/recipes.md,
*Both CMU sets, split honestly*); who is neither tested nor validated on trains. Rows are changes of preset `cpu`, or
its MLP. Minutes are CPU time of training on one thread (of the clock on a GPU); they become epochs at the speed that
steps have when measured, so that each row's schedule ends with its minutes. Validation, once an epoch, is not counted.

Test people by `model.scoring.evaluation`, flip averaged, each frame once; so windows of any length compare. `train` is
the same score on at most 2,000 training windows as they are stored; noise, missing and
skeleton on as many test windows, as reports have them, the skeleton that costs most. MFLOP: of a window's forward pass.

Each finished row is a line of the results (STORE/recipes.jsonl; ours are docs/recipes.jsonl); one that stands there is
not trained again, so that processes, one a core, can share a table. It is printed at the end, of all lines of so many
minutes: mean, then least and most of the seeds.
"""

import argparse
import copy
import itertools
import json
import math
import platform
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import pandas as pd
import torch
from lightning_fabric import Fabric
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from data_contracts.detector_skeletons import Detector
from data_contracts.parameters import Objective, PipelineParameters, TrainingParameters
from data_contracts.presets import load_preset
from model.baselines.mlp import fit_mlp
from model.learning.checkpoints import load_network
from model.learning.devices import make_fabric
from model.network.dstformer import DSTformer
from model.scoring.evaluation import evaluate, network_lifter
from model.scoring.robustness import evenly_drawn, score_robustness
from model.training import build_network, fit
from model.windows.epochs import TrainingWindows
from model.windows.loading import Windows, load_windows
from tasks.finetune import with_head

RESULTS_FILE = "recipes.jsonl"
STEPS_TO_MEASURE = 40
SOME = 2000
SPLITS = {  # who is tested, and who is validated on
    "A": (["01", "10", "32"], ["38", "43"]),
    "B": (["08", "26", "55"], ["10", "32"]),
    "C": (["38", "43"], ["08", "26"]),
}


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
    "average of the weights": Row(("pretrain.ema=0.999",)),
    "dropout": Row(("pretrain.network.dropout=0.1",)),
    "all as detectors see": Row(("pretrain.corruption.clean_share=0", "pretrain.corruption.skeletons_share=0.5")),
    "clean input": Row((_CLEAN,)),
    "clean input, average of the weights": Row((_CLEAN, "pretrain.ema=0.999")),
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


class Bench:
    """Windows of a row, and what a network learns from them in so many minutes."""

    def __init__(self, windows: TrainingWindows, test: Windows, preset: PipelineParameters) -> None:
        self.windows, self.test, self.preset, self.runtime = windows, test, preset, preset.runtime
        self.fabric = make_fabric(self.runtime, "32-true")
        self.clock = time.process_time if self.fabric.device.type == "cpu" else time.monotonic

    @classmethod
    def of(cls, folder: Path, preset: PipelineParameters) -> "Bench":
        """On a windows folder."""
        device, memory_gb = make_fabric(preset.runtime, "32-true").device, preset.runtime.memory_gb
        placed = preset.pretrain.augmentation.wanted
        train = load_windows(folder, "train", memory_gb, device, flip=True, placed=placed)
        val = load_windows(folder, "val", memory_gb, device)
        return cls(TrainingWindows(train, val), load_windows(folder, "test", memory_gb), preset)

    def new_network(self) -> DSTformer:
        """The preset's, its weights drawn from its seed."""
        pretrain = self.preset.pretrain
        config = pretrain.network.model_copy(update={"max_frames": self.windows.train.window})
        return build_network(lambda: DSTformer(config, pretrain.head), pretrain.seed)

    def mlp(self, minutes: float) -> tuple[nn.Module, float, float]:
        """The trained MLP, its epochs, and the windows a second it was trained at."""
        trained = fit_mlp(
            self.windows, self.preset.baselines.mlp.model_copy(update={"minutes": minutes}), self.fabric, _nothing
        )
        seen = trained.windows_per_second * 60 * trained.minutes
        return trained.network, seen / len(self.windows.train), trained.windows_per_second

    def lifter(self, minutes: float, one_stage: bool) -> tuple[nn.Module, float, float]:
        """The trained network, its epochs, and the windows a second it was trained at."""
        pretrain, finetune = self.preset.pretrain, self.preset.finetune
        of_second = 0.0 if one_stage else finetune.max_epochs / (pretrain.max_epochs + finetune.max_epochs)
        network, epochs, speed = self.train(self.new_network(), pretrain, minutes * (1 - of_second))
        if one_stage:
            return network, epochs, speed
        network, more, speed = self.train(with_head(network, finetune), finetune, minutes * of_second)
        return network, epochs + more, speed

    def train(
        self, network: DSTformer, parameters: TrainingParameters, minutes: float
    ) -> tuple[DSTformer, float, float]:
        """Its best epoch, how many it had, and windows a second; as `lifter` for one stage."""
        seconds = self._seconds_per_epoch(network, parameters)
        epochs = max(1, round(60 * minutes / seconds))
        print(f"  {epochs} epochs of {seconds:.1f} s", flush=True)
        with TemporaryDirectory() as folder:
            self._fit(network, parameters, epochs, Path(folder))
            return load_network(Path(folder) / "model.safetensors"), epochs, len(self.windows.train) / seconds

    def _seconds_per_epoch(self, network: DSTformer, parameters: TrainingParameters) -> float:
        times: list[float] = []

        def on_step(step: int, steps: int) -> None:  # noqa: ARG001 - as `fit` calls it
            times.append(self.clock())
            if len(times) > STEPS_TO_MEASURE:
                raise Measured

        with TemporaryDirectory() as folder, suppress(Measured):
            self._fit(copy.deepcopy(network), parameters, 1000, Path(folder), on_step)
        a_step = median(after - before for before, after in pairwise(times[2:]))
        return a_step * math.ceil(len(self.windows.train) / (parameters.batch_size * parameters.accumulate))

    def _fit(
        self,
        network: DSTformer,
        parameters: TrainingParameters,
        epochs: int,
        folder: Path,
        on_step: Callable[[int, int], None] = lambda step, steps: None,  # noqa: ARG005
    ) -> None:
        so_long = parameters.model_copy(update={"max_epochs": epochs, "patience": epochs})
        fit(network, self.windows, so_long, Objective.LIFT, folder, self.fabric, self.runtime, _nothing, on_step)


class Measured(Exception):
    """Enough steps were timed."""


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
    options.store.mkdir(parents=True, exist_ok=True)
    results = options.results or options.store / RESULTS_FILE
    wanted = list(itertools.product(options.split, options.seed, options.row))
    folders = make_windows(options.data, options.store, {(split, row) for split, _, row in wanted})
    for split, seed, name in wanted:
        if (name, split, seed, options.minutes) not in {result.key for result in read_results(results)}:
            print(f"{name}, split {split}, seed {seed}", flush=True)
            result = measure(folders[split, name], name, split, seed, options.minutes)
            with results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(vars(result)) + "\n")
            print(f"  {result.mpjpe_mm:.1f} mm, train {result.train_mpjpe_mm:.1f} mm", flush=True)
    print(table([result for result in read_results(results) if result.minutes == options.minutes]))


def preset_of(name: str, split: str, seed: int) -> PipelineParameters:
    """Preset `cpu` with the row's changes, the split's people and the seed."""
    test, val = SPLITS[split]
    people = [
        "convert.split_by=groups",
        f"convert.test_groups={json.dumps(test)}",
        f"convert.val_groups={json.dumps(val)}",
    ]
    seeds = [f"{stage}.seed={seed}" for stage in ("pretrain", "finetune", "baselines.mlp")]
    return load_preset("cpu", [*people, *seeds, "runtime.threads=1", *ROWS[name].changes])


def make_windows(data: str, store: Path, wanted: set[tuple[str, str]]) -> dict[tuple[str, str], Path]:
    """Windows folder of each (split, row)."""
    from benchmarks.kills import prefect_server
    from flows.convert import convert
    from flows.ingest import ingest

    with prefect_server(store):
        presets = {(split, row): preset_of(row, split, 0) for split, row in sorted(wanted)}
        clips = ingest(data, parameters=next(iter(presets.values())).ingest, store=str(store)).folder
        return {
            key: convert(clips, preset.convert, preset.workers, store=str(store)).path
            for key, preset in presets.items()
        }


def measure(folder: Path, name: str, split: str, seed: int, minutes: float) -> Result:
    """Train a row and score it."""
    bench = Bench.of(folder, preset_of(name, split, seed))
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
        train_mpjpe_mm=evaluate(lifter, evenly_drawn(bench.windows.train, SOME, 256), 256).scores.mpjpe_mm,
        noise_mm=stood["noise"][name],
        missing_mm=stood["missing"][name],
        skeleton_mm=max(errors[name] for shown, errors in stood.items() if shown in set(Detector)),
        mflop=megaflop(network, bench.test),
        windows_per_second=speed,
        device=processor(bench.fabric),
        torch=torch.__version__,
    )


def megaflop(network: nn.Module, windows: Windows) -> float:
    """Of a window's forward pass."""
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network.cpu()(windows.pick([0]).pose_2d)
    return counter.get_total_flops() / 1e6


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
    """A line a row of the table and split: means over the seeds, and the range where there are several; mm, %."""
    frame = pd.DataFrame([vars(result) for result in results]).astype(
        {"noise_mm": float, "missing_mm": float, "skeleton_mm": float}
    )
    lines = [HEADER]
    for (row, split), rows in frame.groupby(["row", "split"], sort=False):
        mean, mpjpe = rows.mean(numeric_only=True), rows["mpjpe_mm"]
        spread = f" ({mpjpe.min():.1f}-{mpjpe.max():.1f})" if len(rows) > 1 else ""
        lines.append(
            f"{row} | {split} | {len(rows)} | {mean.mpjpe_mm:.1f}{spread} | {mean.p_mpjpe_mm:.1f} |"
            f" {100 * mean.pck_150:.1f} | {mean.mpjve_mm:.2f} | {mean.train_mpjpe_mm:.1f} |"
            f" {mean.noise_mm:.1f}, {mean.missing_mm:.1f}, {mean.skeleton_mm:.1f} | {mean.mflop:.1f} |"
            f" {mean.windows_per_second:.0f} | {mean.epochs:.0f} | {mean.spent:.1f}"
        )
    return "\n".join(lines)


def _nothing(*_: object) -> None:
    """Shows nothing."""


if __name__ == "__main__":
    main()
