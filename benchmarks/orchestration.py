"""What Prefect and MLflow cost a training stage: the same loop with and without them.

    python -m benchmarks.orchestration [--epochs 3]

Pretrains the demo network on the same windows of synthetic motion: through the `pretrain` flow (a Prefect server,
MLflow with SQLite, the store, progress bar, top-k checkpoints logged and digested), and by `model.job.run` alone. Each
is a process of its own, as long as two minutes or more; left out are imports and the making of MLflow's database, 5 s
once in a store's life. They take turns, `--rounds` times; the ratio is that of the sums. CPU time of the process itself
stands beside wall time, as what else runs on the machine disturbs it less.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.kills import make_windows, prefect_server


def main() -> None:
    """Run the benchmark as described above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--part", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        way, windows, folder = options.part
        print(json.dumps((with_both if way == "with" else without)(Path(windows), Path(folder), options.epochs)))
        return
    spent: dict[str, list[list[float]]] = {"with": [], "without": []}
    with TemporaryDirectory() as folder, prefect_server(Path(folder)):
        windows = make_windows(Path(folder) / "made")
        for number in range(options.rounds):
            for way, measured in spent.items():
                into = Path(folder) / f"{way}-{number}"
                part = ["--part", way, str(windows), str(into), "--epochs", str(options.epochs)]
                command = [sys.executable, "-m", "benchmarks.orchestration", *part]
                output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                measured.append(json.loads(output.strip().splitlines()[-1]))
                print(f"{way:8} {measured[-1][0]:6.1f} s wall, {measured[-1][1]:6.1f} s CPU", flush=True)
    wall, cpu = (
        sum(each[i] for each in spent["with"]) / sum(each[i] for each in spent["without"]) - 1 for i in range(2)
    )
    print(f"Prefect and MLflow add {100 * wall:.1f} % of wall time, {100 * cpu:.1f} % of CPU time (bound 5 %)")


def overrides(epochs: int) -> list[str]:
    """Of the preset `demo`, for a training of so many epochs."""
    return [f"pretrain.max_epochs={epochs}", f"pretrain.patience={epochs}"]


def with_both(windows: Path, store: Path, epochs: int) -> tuple[float, float]:
    """Seconds (wall, CPU) of the flow."""
    from flows.stage_flows import pretrain
    from tasks.mlflow_runs.runs import connect

    connect(store)
    started, cpu = time.monotonic(), time.process_time()
    pretrain(str(windows), preset="demo", overrides=overrides(epochs), store=str(store))
    return time.monotonic() - started, time.process_time() - cpu


def without(windows: Path, folder: Path, epochs: int) -> tuple[float, float]:
    """Seconds (wall, CPU) of the learner alone."""
    from data_contracts.presets import load_preset
    from data_contracts.store.folders import read_manifest
    from model.job import Job, run
    from model.network.dstformer import DSTformer
    from model.training import build_network

    preset = load_preset("demo", overrides(epochs))
    training, runtime = preset.pretrain, preset.runtime
    folder.mkdir(parents=True)
    job = Job(folder=folder, windows=windows, parameters=training, objective=training.objective, runtime=runtime)
    frames = read_manifest(windows)["parameters"]["window"]
    started, cpu = time.monotonic(), time.process_time()
    config = training.network.model_copy(update={"max_frames": frames})
    network = build_network(lambda: DSTformer(config), training.seed)
    run(job, network, _nothing, _nothing, _nothing)
    return time.monotonic() - started, time.process_time() - cpu


def _nothing(*_: object) -> None:
    """Shows nothing."""


if __name__ == "__main__":
    main()
