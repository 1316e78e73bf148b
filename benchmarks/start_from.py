"""Compare ways to use new clips: fine-tune the champion on all clips, or train from scratch.

    python -m benchmarks.start_from DATA --store STORE [--champion 6] [--minutes 2] [--seed 0]

Data, subjects, network and minutes are those of split A and preset `dstformer`, as in `benchmarks.recipes`. The
champion trained for `--champion` minutes on the subjects in `BEFORE`. Then all subjects are used: the champion's
weights in the second stage of the preset (`start_from=champion`), and both stages from scratch, for `--minutes`
and for the sum of both times. Errors are MPJPE with flip averaging. Each finished line is in STORE/start_from.jsonl
and is not trained again.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from torch import nn

from benchmarks.equal_minutes import Bench, make_windows, preset_of
from model.data.loading import TrainingWindows, some_of
from model.lifting.lifter import Lifter
from model.network.network import PoseNetwork
from model.scoring.evaluation import evaluate, method_of

RESULTS_FILE = "start_from.jsonl"
SPLIT = "A"
BEFORE = ("02", "60", "61", "94", "c2s")  # subjects of the champion


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="folder of motion files with clip lists")
    parser.add_argument("--store", type=Path, required=True, help="folder of windows and results")
    parser.add_argument("--champion", type=float, default=6.0, help="training minutes of the champion")
    parser.add_argument("--minutes", type=float, default=2.0, help="training minutes on all clips")
    parser.add_argument("--seed", nargs="+", type=int, default=[0])
    options = parser.parse_args()
    (folder,) = make_windows(options.data, options.store, [preset_of((), SPLIT, 0)])
    results, of_champion, minutes = options.store / RESULTS_FILE, options.champion, options.minutes
    for seed in options.seed:
        run = {"seed": seed, "champion_minutes": of_champion, "minutes": minutes}
        lines = results.read_text().splitlines() if results.exists() else []
        if not any(run.items() <= json.loads(line).items() for line in lines):
            line = {**run, **measure(folder, seed, of_champion, minutes)}
            with results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
    for line in results.read_text().splitlines():
        print(line)


def measure(folder: Path, seed: int, of_champion: float, minutes: float) -> dict[str, float]:
    """Return the MPJPE of each way, in mm."""
    preset = preset_of((), SPLIT, seed)
    full = Bench.of(folder, preset)
    train = full.windows.train
    places = np.flatnonzero(train.rows["group"].isin(BEFORE).to_numpy()).tolist()
    before = Bench(TrainingWindows(some_of(train, places), full.windows.val), full.test, preset)

    def error(network: nn.Module) -> float:
        method = method_of(Lifter(network, full.test.window), full.fabric)
        return evaluate(method, full.test, 256).scores["mpjpe_mm"]

    champion, *_ = before.lifter(of_champion, one_stage=False)
    assert isinstance(champion, PoseNetwork)
    shares = {"windows_before": len(places), "windows": len(train), "champion_mm": error(champion)}
    tuned, *_ = full.train(champion, preset.finetune, minutes)
    new, *_ = full.lifter(minutes, one_stage=False)
    longer, *_ = full.lifter(of_champion + minutes, one_stage=False)
    return shares | {"from_champion_mm": error(tuned), "from_nothing_mm": error(new), "as_long_mm": error(longer)}


if __name__ == "__main__":
    main()
