"""Kill training at random moments and compare the results with an undisturbed run.

    python -m benchmarks.kills [--kills 20] [--seed 0] [--signal KILL] [--set runtime.devices=2]

`uplift pretrain` runs once undisturbed on synthetic motion. Then it runs in new stores. Each time its process group is
killed at a random moment, and the same command starts again. A run that ends must have the weights (best and last),
optimiser state and MLflow curves of the undisturbed run, to the bit, in one MLflow run, with each step once. The
benchmark ends with an error if anything differs.
"""

import argparse
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from safetensors import safe_open

SETTINGS = (
    "pretrain.network.stem_width=64",
    "pretrain.max_epochs=4",
    "pretrain.patience=4",
    "pretrain.batch_size=8",
    "pretrain.checkpoint_every=2",
    "runtime.checkpoint_minutes=0.02",
)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="seed of the moments")
    parser.add_argument("--signal", choices=["KILL", "TERM"], default="KILL")
    parser.add_argument("--set", action="append", default=[], help="more parameters of `uplift pretrain`")
    options = parser.parse_args()
    moments = random.Random(options.seed)
    with TemporaryDirectory() as folder, prefect_server(Path(folder)):
        reference = Path(folder) / "reference"
        windows = make_windows(reference, "synthetic.people=6", "synthetic.seconds=2.5")
        command = uplift("pretrain", str(windows), settings=[*SETTINGS, *options.set])
        started = time.monotonic()
        subprocess.run([*command, "--store", str(reference)], check=True, capture_output=True)
        seconds = time.monotonic() - started
        undisturbed = outcome(reference)
        print(f"undisturbed: {seconds:.1f} s, {len(undisturbed['curves']['loss'])} epochs", flush=True)
        kills = runs = 0
        while kills < options.kills:
            store = Path(folder) / f"run-{runs}"
            kills += train_with_kills(command, store, seconds, options.kills - kills, moments, options.signal)
            compare(outcome(store), undisturbed)
            runs += 1
            print(f"run {runs} ended after {kills} kills in total: same weights and curves", flush=True)
            shutil.rmtree(store)
    print(f"{kills} kills, {runs} runs ended, all like the undisturbed run")


@contextmanager
def prefect_server(folder: Path) -> Iterator[None]:
    """Start a Prefect server, so that no run starts its own; MLflow writes to each store."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    os.environ |= {
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    server = subprocess.Popen(
        [sys.executable, "-m", "prefect", "server", "start", "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        for _ in range(300):
            with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/api/health"):
                break
            time.sleep(0.5)
        yield
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()


def make_windows(store: Path, *overrides: str) -> Path:
    """Make a windows folder of synthetic motion."""
    from data_contracts.parameters import SYNTHETIC_FILE
    from data_contracts.parameters.presets import load_preset
    from flows.stage_flows import convert, ingest
    from tasks.stage import Context, get_or_compute
    from tasks.synthetic.motion import CLIP_LIST_FILE, SYNTHESISE

    parameters = load_preset("demo", list(overrides))
    motion = get_or_compute(SYNTHESISE, {}, Context(store, parameters, tracked=False)).path
    shared = {"store": str(store), "overrides": overrides}
    clips = ingest(str(motion / SYNTHETIC_FILE), str(motion / CLIP_LIST_FILE), **shared)
    return convert(clips.folder, **shared).path


def uplift(*arguments: str, settings: list[str]) -> list[str]:
    """Return a command line of `uplift`."""
    return [sys.executable, "-m", "flows.cli", *arguments, *(f"--set={setting}" for setting in settings)]


def train_with_kills(
    command: list[str], store: Path, seconds: float, kills: int, moments: random.Random, name: str
) -> int:
    """Run the command until it ends by itself, kill it up to `kills` times, and return the number of kills."""
    done = 0
    while True:
        process = subprocess.Popen(
            [*command, "--store", str(store)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            wait = moments.uniform(0, seconds) if done < kills else None
            _, errors = process.communicate(timeout=wait)
            if process.returncode == 0:
                return done
            raise SystemExit(f"the command ended with {process.returncode}:\n{errors[-3000:]}")
        except subprocess.TimeoutExpired:
            state = newest(store)
            killed = time.monotonic()
            os.killpg(process.pid, getattr(signal, f"SIG{name}"))
            process.communicate()
            done += 1
            print(f"  killed after {wait:4.1f} s, ended {time.monotonic() - killed:.1f} s later; {state}", flush=True)


def newest(store: Path) -> str:
    """Return the state of the run's partial folder."""
    names = {path.name for path in store.glob("runs/.*.partial/*")}
    return "no `last` yet" if "last.safetensors" not in names else f"`last` and {len(names) - 1} other files"


def outcome(store: Path) -> dict[str, Any]:
    """Return the tensors and curves of the only finished run."""
    (run,) = (path.parent for path in store.glob("runs/*/manifest.json"))
    tensors = {}
    for file in sorted(run.glob("*.safetensors")):
        with safe_open(file, "np") as content:
            tensors |= {f"{file.name}: {name}": content.get_tensor(name) for name in content.keys()}  # noqa: SIM118
    return {"tensors": tensors, "curves": curves(store)}


def curves(store: Path) -> dict[str, list[tuple[int, float]]]:
    """Return metric -> (step, value) of each logged value, in the order of steps."""
    from mlflow import MlflowClient

    from tasks.tracking.runs import connect

    client: MlflowClient = connect(store)
    os.environ.pop("MLFLOW_TRACKING_URI", None)  # MLflow sets it, and the next command would use it
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    (run,) = client.search_runs(experiments, "tags.`uplift.stage` = 'pretrain'")
    assert run.info.status == "FINISHED", run.info.status
    names = ("loss", "learning_rate", "val_mpjpe_mm", "val_pck_150")
    found = {
        name: sorted((entry.step, entry.value) for entry in client.get_metric_history(run.info.run_id, name))
        for name in names
    }
    for name, entries in found.items():
        assert len({step for step, _ in entries}) == len(entries), f"{name} has two values at a step: {entries}"
    return found


def compare(result: dict[str, Any], expected: dict[str, Any]) -> None:
    """Raise an error if a run differs from the undisturbed run."""
    if result["curves"] != expected["curves"]:
        raise SystemExit(f"the curves differ:\n{result['curves']}\n{expected['curves']}")
    if result["tensors"].keys() != expected["tensors"].keys():
        raise SystemExit(f"different tensors: {sorted(result['tensors'].keys() ^ expected['tensors'].keys())}")
    other = [
        name for name, value in expected["tensors"].items() if result["tensors"][name].tobytes() != value.tobytes()
    ]
    if other:
        raise SystemExit(f"{len(other)} tensors differ, among them {other[:5]}")


if __name__ == "__main__":
    main()
