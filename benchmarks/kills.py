"""Kill training again and again; the same commands must end with the results of an undisturbed run.

    python -m benchmarks.kills [--kills 10 --epochs 150] [--seed 0]

First `uplift pipeline` trains undisturbed on synthetic motion. Then a stack runs `pipeline/on-demand` in another store.
At a random moment after a new checkpoint of the training, the next victim gets SIGKILL: the worker of the training,
the MLflow server, the Prefect server, and from then on the flow run of the training. The pipeline itself starts a
killed flow run again. If a service is killed, the stack ends; then `uplift up` and `prefect deployment run` run again.

All tensors (weights and optimiser state) and MLflow curves must be those of the undisturbed run, to the bit, in one
MLflow run with each step once, and no folder may be unfinished. Otherwise the benchmark ends with an error.
"""

import argparse
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
import yaml
from safetensors.numpy import load_file

from data_contracts.parameters.presets import load_preset
from flows.deployment.settings import StackSettings
from tasks.tracking.connection import tracking_client

ROOT = Path(__file__).parent.parent
UPLIFT = (sys.executable, "-m", "flows.cli")
SERVICES = ("worker-cuda", "mlflow", "prefect")
TINY = (
    "synthetic.people=6",
    "synthetic.seconds=1.5",
    "convert.views=1",
    "ingest.min_frames=10",
    "pretrain.network.stem_width=64",
    "pretrain.patience=100000",
    "finetune.max_epochs=2",
    "baselines.mlp.minutes=0.02",
    "evaluate.robustness_windows=0",
    "pretrain.batch_size=8",
    "runtime.checkpoint_minutes=0.01",
    "runtime.restarts=100",
)
CURVES = ("loss", "learning_rate", "val_mpjpe_mm", "val_pck_150")
ENVIRONMENT = {
    "UPLIFT_PREFECT_PORT": "14200",
    "UPLIFT_MLFLOW_PORT": "15000",
    "UPLIFT_API_PASSWORD": "crash test password",
    "UPLIFT_SILENT_MINUTES": "3",  # a run whose end no server recorded holds its pool until then
    "OMP_NUM_THREADS": "1",
}
TIMEOUT = 1200.0


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=4, help="kills; all after the third are of the flow run")
    parser.add_argument("--seed", type=int, default=0, help="seed of the moments")
    parser.add_argument("--epochs", type=int, default=60, help="epochs of pretraining")
    options = parser.parse_args()
    with TemporaryDirectory(prefix="uplift-kills-") as temporary:
        folder = Path(temporary)
        store, reference, preset, stack = folder / "store", folder / "reference", folder / "tiny.yaml", Stack(folder)
        os.environ |= ENVIRONMENT | {"UPLIFT_STORE": str(store), "UPLIFT_PRESET": str(preset)}
        parameters = load_preset("demo", [*TINY, f"pretrain.max_epochs={options.epochs}"])
        preset.write_text(yaml.safe_dump(parameters.model_dump(mode="json")))
        with prefect_server(folder):
            command = [*UPLIFT, "pipeline", "--preset", str(preset), "--store", str(reference)]
            subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
        began = time.monotonic()
        try:
            survive(stack, store, options.kills, random.Random(options.seed))
        finally:
            stack.end()
        compare(outcome(store), outcome(reference))
        print(f"same tensors and curves after {options.kills} kills, in {time.monotonic() - began:.0f} s")


@contextmanager
def prefect_server(folder: Path) -> Iterator[None]:
    """Start a Prefect server, because the server that a flow starts itself is too slow on a busy machine."""
    os.environ.pop("MLFLOW_TRACKING_URI", None)  # MLflow writes to each store
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = {
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    }
    os.environ |= own
    command = [sys.executable, "-m", "prefect", "server", "start", "--port", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        for _ in range(300):
            with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/api/health"):
                break
            time.sleep(0.5)
        yield
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()
        for name in own:
            os.environ.pop(name)


def outcome(store: Path) -> dict[str, Any]:
    """Return the tensors of all training runs of a store, and the curves of its pretraining."""
    if partial := [*store.glob("*/.*.partial")]:
        raise SystemExit(f"unfinished folders: {partial}")
    found = {
        f"{file.parent.name}/{file.name}: {name}": tensor.tobytes()
        for file in sorted(store.glob("runs/*/*.safetensors"))
        for name, tensor in load_file(file).items()
    }
    client = tracking_client(store)
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    (run,) = client.search_runs(experiments, "tags.`uplift.stage` = 'pretrain'")
    if run.info.status != "FINISHED":
        raise SystemExit(f"the MLflow run of the pretraining is {run.info.status}")
    for name in CURVES:
        found[name] = sorted((one.step, one.value) for one in client.get_metric_history(run.info.run_id, name))
    return found


def compare(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """End with an error if results differ from those of the undisturbed run."""
    if other := [name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name)]:
        curves = [f"\n{name}: {found.get(name)}, expected {expected.get(name)}" for name in other if name in CURVES]
        raise SystemExit(f"{len(other)} results differ: {sorted(other)[:5]}{''.join(curves)}")


class Stack:
    """`uplift up`, which the benchmark starts again after each end, and the pipeline run on its servers."""

    def __init__(self, folder: Path) -> None:
        self.terminal, self.watched = folder / "terminal", folder / "pipeline"
        self.stack = self.run = None

    def start(self) -> None:
        """Start the stack and the pipeline run."""
        with self.terminal.open("w") as out:
            self.stack = subprocess.Popen([*UPLIFT, "up"], cwd=ROOT, stdout=out, stderr=out)
        wait_for("uplift up", lambda: "Ctrl-C in" in self.terminal.read_text() or not self.is_up())
        command = [sys.executable, "-m", "prefect", "deployment", "run", "pipeline/on-demand", "--watch"]
        client = os.environ | StackSettings().client_environment()
        with self.watched.open("w") as out:
            self.run = subprocess.Popen([*command, "--param", "train_on=workers"], env=client, stdout=out, stderr=out)

    def is_up(self) -> bool:
        """Return whether `uplift up` runs."""
        return self.stack is not None and self.stack.poll() is None

    def end(self) -> None:
        """End the stack and the pipeline run."""
        for process, number in ((self.run, signal.SIGKILL), (self.stack, signal.SIGINT)):
            if process is not None:
                if process.poll() is None:
                    process.send_signal(number)
                process.wait()

    def kill(self, victim: str) -> None:
        """Send SIGKILL to a service, or to the flow run of the worker of pool cuda."""
        name = "worker-cuda" if victim == "flow run" else victim
        processes = psutil.Process(self.stack.pid).children(recursive=True)
        shell = next(one for one in processes if f"services {name};" in " ".join(one.cmdline()))
        service = shell.children()[0]
        (service.children()[0] if victim == "flow run" else service).kill()
        print(f"killed {victim}", flush=True)


def survive(stack: Stack, store: Path, kills: int, moments: random.Random) -> None:
    """Kill the victims, and repeat the commands until the pipeline run has completed."""
    stack.start()
    for victim in [*SERVICES, *["flow run"] * kills][:kills]:
        before = newest_checkpoint(store)
        wait_for("a checkpoint", lambda before=before: newest_checkpoint(store) > before or stack.run.poll() == 0)  # type: ignore[misc]
        time.sleep(moments.uniform(0, 2))
        if stack.run.poll() == 0:
            raise SystemExit(f"training ended before {victim} was killed: pass more --epochs")
        stack.kill(victim)
        if victim in SERVICES:
            wait_for("the end of the stack", lambda: not stack.is_up())
            print([line for line in stack.terminal.read_text().splitlines() if " stopped (" in line][:1], flush=True)
            stack.end()
            stack.start()
    wait_for("the pipeline run", lambda: stack.run.poll() is not None)
    print(stack.watched.read_text()[-500:], flush=True)


def wait_for(what: str, is_true: Callable[[], object]) -> None:
    """Wait until the condition is true; end with an error that names `what` after `TIMEOUT` seconds."""
    until = time.monotonic() + TIMEOUT
    while not is_true():
        if time.monotonic() > until:
            raise SystemExit(f"{what}: not within {TIMEOUT:g} s")
        time.sleep(0.2)


def newest_checkpoint(store: Path) -> float:
    """Return the time of the last checkpoint of an unfinished training, or 0."""
    files = store.glob("runs/.*.partial/last.safetensors")
    return max((file.stat().st_mtime for file in files if file.exists()), default=0.0)


if __name__ == "__main__":
    main()
