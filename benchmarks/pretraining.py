"""When pretraining earns its place: people with little motion capture, who fine-tune on one, two or four persons.

    python -m benchmarks.pretraining ../shared/data --store STORE [--minutes 1.5] [--pretraining 6] [--seed 0 1 2]

Data, people tested and validated on, network and CPU minutes: split A and preset `cpu` of `benchmarks.recipes`. Four
persons are those who may be fine-tuned on, each seed beginning with another; all other training people are the motion
that fine-tuning does not have. Each way to use them is told from the same minutes on the few persons alone:

- scratch: the few persons, nothing else;
- pretrained, then whole or frozen: masked lifting from the others, then the few persons, the whole network at half the
  rate or the head alone on a frozen backbone; `pretrained` alone is what the fine-tuning starts from.

Each finished line goes to STORE/pretraining.jsonl, and one that stands there is not trained again; processes may share
it. Errors are MPJPE of split A's test people, flip averaged; intervals of differences are Student's, over the seeds.
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
from model.data.epochs import TrainingWindows
from model.data.loading import Windows, WindowTensors, some_of
from model.network.dstformer import DSTformer
from model.scoring.evaluation import evaluate, network_lifter
from tasks.train.finetune import with_head

RESULTS_FILE = "pretraining.jsonl"
SPLIT = "A"
FEW = ("35", "06", "02", "60")  # of bodies of their own but 60's; each has more than 500 training windows
MASKED = CorruptionParameters(frame_share=0.15, joint_share=0.15, fill="zero")
WAYS = ("scratch", "whole", "frozen")


class Experiment:
    """One seed: the others pretrained on once, the few persons fine-tuned on in each way."""

    def __init__(self, folder: Path, seed: int, pretraining: float, minutes: float) -> None:
        self.preset = preset_of((), SPLIT, seed)
        self.bench = Bench.of(folder, self.preset)
        self.seed, self.pretraining, self.minutes = seed, pretraining, minutes
        self.order = [*FEW[seed % len(FEW) :], *FEW[: seed % len(FEW)]]
        self.others = people(self.bench.windows.train, set(FEW), without=True)
        self._pretrained: DSTformer | None = None

    def pretrained(self) -> DSTformer:
        """Masked lifting from all the others."""
        if self._pretrained is None:
            bench = self._bench(self.others)
            masked = self.preset.pretrain.model_copy(update={"corruption": MASKED})
            self._pretrained, *_ = bench.train(bench.new_network(), masked, self.pretraining)
        return self._pretrained

    def run(self, way: str, count: int) -> float:
        """MPJPE of a way with `count` persons; none: of what was pretrained, as it is."""
        if not count:
            return self._score(self.pretrained())
        few = people(self.bench.windows.train, set(self.order[:count]))
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
        return evaluate(network_lifter(network, self.bench.fabric, flip=True), self.bench.test, 256).scores.mpjpe_mm


def people(windows: Windows, groups: set[str], without: bool = False) -> WindowTensors:
    """The windows of these groups, or of all but these."""
    places = np.flatnonzero(windows.rows["group"].isin(groups).to_numpy() != without)
    return some_of(windows, places.tolist())


def main() -> None:
    """Run the benchmark as described above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="folder of AMASS pickles with their clip lists")
    parser.add_argument("--store", type=Path, required=True, help="keeps windows and results")
    parser.add_argument("--minutes", type=float, default=1.5, help="of fine-tuning, and of training from scratch")
    parser.add_argument("--pretraining", type=float, default=6.0, help="minutes")
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
    """What is finished."""
    file = store / RESULTS_FILE
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []


def table(lines: pd.DataFrame) -> str:
    """A line for each way and number of persons: mean and range over seeds, and what it gains over scratch; mm."""
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
