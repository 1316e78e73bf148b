"""When new clips come: the champion fine-tuned on all clips, against training from nothing on them for as long.

    python -m benchmarks.start_from ../shared/data --store STORE [--champion 6] [--minutes 2] [--seed 0]

Data, people tested and validated on, network and CPU minutes: split A and preset `cpu` of `benchmarks.recipes`. The
champion learned for `--champion` minutes from the people of `cmu/` alone; `cmu_people/` is what came since. Then, on
both: the champion's weights through the second stage of the preset, as `start_from=champion` has it; and both stages
from nothing, for the same `--minutes`, and for those and the champion's together. Errors are MPJPE of split A's test
people, flip averaged. Nothing is trained twice: a finished line stands in STORE/start_from.jsonl.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from torch import nn

from benchmarks.equal_minutes import Bench, make_windows, preset_of
from model.data.epochs import TrainingWindows
from model.data.loading import some_of
from model.network.dstformer import DSTformer
from model.scoring.evaluation import evaluate, network_lifter

RESULTS_FILE = "start_from.jsonl"
SPLIT = "A"
BEFORE = ("02", "60", "61", "94", "c2s")  # who of `cmu/` trains


def main() -> None:
    """Run the benchmark as described above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="folder of AMASS pickles with their clip lists")
    parser.add_argument("--store", type=Path, required=True, help="keeps windows and results")
    parser.add_argument("--champion", type=float, default=6.0, help="minutes that it learned for")
    parser.add_argument("--minutes", type=float, default=2.0, help="on all clips")
    parser.add_argument("--seed", nargs="+", type=int, default=[0])
    options = parser.parse_args()
    (folder,) = make_windows(options.data, options.store, [preset_of((), SPLIT, 0)])
    results, of_champion, minutes = options.store / RESULTS_FILE, options.champion, options.minutes
    for seed in options.seed:
        told = {"seed": seed, "champion_minutes": of_champion, "minutes": minutes}
        lines = results.read_text().splitlines() if results.exists() else []
        if not any(told.items() <= json.loads(line).items() for line in lines):
            line = {**told, **measure(folder, seed, of_champion, minutes)}
            with results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
    for line in results.read_text().splitlines():
        print(line)


def measure(folder: Path, seed: int, of_champion: float, minutes: float) -> dict[str, float]:
    """MPJPE in mm of each way."""
    preset = preset_of((), SPLIT, seed)
    everybody = Bench.of(folder, preset)
    train = everybody.windows.train
    places = np.flatnonzero(train.rows["group"].isin(BEFORE).to_numpy()).tolist()
    before = Bench(TrainingWindows(some_of(train, places), everybody.windows.val), everybody.test, preset)

    def error(network: nn.Module) -> float:
        lifter = network_lifter(network, everybody.fabric, flip=True)
        return evaluate(lifter, everybody.test, 256).scores.mpjpe_mm

    champion, *_ = before.lifter(of_champion, one_stage=False)
    assert isinstance(champion, DSTformer)
    shares = {"windows_before": len(places), "windows": len(train), "champion_mm": error(champion)}
    tuned, *_ = everybody.train(champion, preset.finetune, minutes)
    anew, *_ = everybody.lifter(minutes, one_stage=False)
    longer, *_ = everybody.lifter(of_champion + minutes, one_stage=False)
    return shares | {"from_champion_mm": error(tuned), "from_nothing_mm": error(anew), "as_long_mm": error(longer)}


if __name__ == "__main__":
    main()
