"""Measure what pretraining gains for users with little motion: fine-tuning on one, two or four subjects.

    python -m benchmarks.pretraining DATA --store STORE [--minutes 1.5] [--pretraining 6] [--seed 0 1 2]

Data, test and validation subjects, network and minutes are those of split A and preset `dstformer`, as in
`benchmarks.recipes`. Fine-tuning uses the first one, two or four of four subjects; their order depends on the seed.
Pretraining uses all other training subjects.

- scratch: training on the few subjects only;
- whole, frozen: masked pretraining, then fine-tuning of the whole network or of its head on the few subjects;
- pretrained: the network after pretraining, without fine-tuning.

Each finished result is a line of STORE/pretraining.jsonl and is not trained again. Errors are MPJPE with flip
averaging; intervals are Student's over the seeds.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats
from torch import nn

from benchmarks.equal_minutes import Bench, make_windows, preset_of
from data_contracts.parameters import CorruptionParameters
from model.data.loading import TrainingWindows, Windows, WindowTensors, some_of
from model.lifting.lifter import Lifter
from model.network.network import PoseNetwork
from model.scoring.evaluation import evaluate, method_of
from tasks.train.training import with_head

RESULTS_FILE = "pretraining.jsonl"
SPLIT = "A"
FEW = ("35", "06", "02", "60")  # each has more than 500 training windows, and all but 60 have their own body
MASKED = CorruptionParameters(frame_share=0.15, joint_share=0.15, fill="zero")
WAYS = ("scratch", "whole", "frozen")


class Experiment:
    """Trainings with one seed: one pretraining on the other subjects, and fine-tuning on the few in each way."""

    def __init__(self, folder: Path, seed: int, pretraining: float, minutes: float) -> None:
        self.preset = preset_of((), SPLIT, seed)
        self.bench = Bench.of(folder, self.preset)
        self.seed, self.pretraining, self.minutes = seed, pretraining, minutes
        self.order = [*FEW[seed % len(FEW) :], *FEW[: seed % len(FEW)]]
        self.others = windows_of(self.bench.windows.train, set(FEW), without=True)
        self._pretrained: PoseNetwork | None = None

    def pretrained(self) -> PoseNetwork:
        """Return the network after masked pretraining on the other subjects; the first call trains it."""
        if self._pretrained is None:
            bench = self._bench(self.others)
            masked = self.preset.pretrain.model_copy(update={"corruption": MASKED})
            self._pretrained, *_ = bench.train(bench.new_network(), masked, self.pretraining)
        return self._pretrained

    def run(self, way: str, count: int) -> float:
        """Return the MPJPE (mm) of one of `WAYS` with `count` subjects; of the pretrained network if `count` is 0."""
        if not count:
            return self._score(self.pretrained())
        few = windows_of(self.bench.windows.train, set(self.order[:count]))
        if way in ("whole", "frozen"):
            frozen = way == "frozen"
            parameters = self.preset.finetune.model_copy(update={"freeze_backbone": frozen})
            network, *_ = self._bench(few).train(with_head(self.pretrained(), parameters), parameters, self.minutes)
        else:
            bench = self._bench(few)
            network, *_ = bench.train(bench.new_network(), self.preset.pretrain, self.minutes)
        return self._score(network)

    def _bench(self, train: Windows) -> Bench:
        return Bench(TrainingWindows(train, self.bench.windows.val), self.bench.test, self.preset)

    def _score(self, network: nn.Module) -> float:
        method = method_of(Lifter(network, self.bench.test.window), self.bench.fabric)
        return evaluate(method, self.bench.test, 256).scores["mpjpe_mm"]


def windows_of(windows: Windows, groups: set[str], without: bool = False) -> WindowTensors:
    """Return the windows of these groups or, with `without`, of all other groups."""
    places = np.flatnonzero(windows.rows["group"].isin(groups).to_numpy() != without)
    return some_of(windows, places.tolist())


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="folder of motion files with clip lists")
    parser.add_argument("--store", type=Path, required=True, help="folder of windows and results")
    parser.add_argument(
        "--minutes", type=float, default=1.5, help="minutes of fine-tuning and of training from scratch"
    )
    parser.add_argument("--pretraining", type=float, default=6.0, help="minutes of pretraining")
    parser.add_argument("--seed", nargs="+", type=int, default=[0, 1, 2])
    options = parser.parse_args()
    (folder,) = make_windows(options.data, options.store, [preset_of((), SPLIT, 0)])
    budget = {"minutes": options.minutes, "pretraining": options.pretraining}
    wanted = [("pretrained", 0), *((way, count) for count in (1, 2, 4) for way in WAYS)]
    for seed in options.seed:
        experiment = Experiment(folder, seed, options.pretraining, options.minutes)
        for way, count in wanted:
            key = {"way": way, "people": count, "seed": seed, **budget}
            if key not in [{name: line[name] for name in key} for line in read_lines(options.store)]:
                line = {**key, "mpjpe_mm": experiment.run(way, count)}
                print(line, flush=True)
                with (options.store / RESULTS_FILE).open("a", encoding="utf-8") as file:
                    file.write(json.dumps(line) + "\n")
    print(table(pd.DataFrame([line for line in read_lines(options.store) if budget.items() <= line.items()])))


def read_lines(store: Path) -> list[dict[str, float | str]]:
    """Return the finished results."""
    file = store / RESULTS_FILE
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []


def table(lines: pd.DataFrame) -> str:
    """Return one line per way and number of subjects: mean and range over seeds, and gain over scratch, in mm."""
    shown = ["people | way | seeds | MPJPE | less than scratch (95 %)"]
    for (count, way), rows in lines.groupby(["people", "way"], sort=False):
        errors = rows.set_index("seed")["mpjpe_mm"]
        scratch = lines[(lines["people"] == count) & (lines["way"] == "scratch")].set_index("seed")["mpjpe_mm"]
        gain = (scratch - errors).dropna()
        text = ""
        if way not in ("scratch", "pretrained") and len(gain) > 1:
            half = stats.t.ppf(0.975, len(gain) - 1) * gain.std() / len(gain) ** 0.5
            text = f"{gain.mean():+.1f} ({gain.mean() - half:+.1f} to {gain.mean() + half:+.1f})"
        spread = f"{errors.mean():.1f} ({errors.min():.1f}-{errors.max():.1f})"
        shown.append(f"{count or ''} | {way} | {len(errors)} | {spread} | {text}")
    return "\n".join(shown)


if __name__ == "__main__":
    main()
