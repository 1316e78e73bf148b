"""Kill a flow run, a worker and both servers during training; the same commands must end with the same weights.

    python -m benchmarks.crashes [--folder DIR] [--epochs 60]

First `uplift pipeline` trains the reference in its own store. Then a stack runs `pipeline/on-demand` in another store.
Each time that training has written a new checkpoint, the next victim gets SIGKILL: the flow run of the training, its
worker, the MLflow server, the Prefect server. The pipeline itself starts a killed stage again. If a service is killed,
the stack ends; then `uplift up` and `prefect deployment run` run again. At the end the checkpoints of both stores must
be the same bytes, and no flow run or folder may be unfinished.
"""

import argparse
import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import yaml

from data_contracts.parameters.presets import load_preset
from flows.deployment.settings import StackSettings

ROOT = Path(__file__).parent.parent
VICTIMS = ("flow run", "worker-cuda", "mlflow", "prefect")
TINY = (
    "synthetic.people=6",
    "synthetic.seconds=1.5",
    "convert.views=1",
    "ingest.min_frames=10",
    "pretrain.network.stem_width=64",
    "pretrain.network.fusion_depth=1",
    "pretrain.patience=100000",
    "finetune.max_epochs=2",
    "baselines.mlp.minutes=0.02",
    "evaluate.robustness_windows=0",
)
TIMEOUT = 1200.0


class Stack:
    """`uplift up` in a store, started again after each end, and the pipeline run in it."""

    def __init__(self, folder: Path, preset: Path) -> None:
        self.store, self.terminal = folder / "store", folder / "terminal"
        self.environment = os.environ | {
            "UPLIFT_STORE": str(self.store),
            "UPLIFT_PRESET": str(preset),
            "UPLIFT_PREFECT_PORT": "14200",
            "UPLIFT_MLFLOW_PORT": "15000",
            "UPLIFT_API_PASSWORD": "crash test password",
            "UPLIFT_SILENT_MINUTES": "3",  # a run whose end no server recorded holds its pool until then
            "OMP_NUM_THREADS": "1",
        }
        self.settings = StackSettings(
            store=str(self.store), prefect_port=14200, mlflow_port=15000, api_password="crash test password"
        )
        self.stack = self.run = None

    def start(self) -> None:
        """Start the stack and the pipeline run."""
        with self.terminal.open("w") as out:
            command = [sys.executable, "-m", "flows.cli", "up"]
            self.stack = subprocess.Popen(command, cwd=ROOT, env=self.environment, stdout=out, stderr=out)
        wait_for("uplift up", lambda: "Ctrl-C in" in self.terminal.read_text() or not self.is_up())
        command = [sys.executable, "-m", "prefect", "deployment", "run", "pipeline/on-demand", "--watch"]
        client = self.environment | self.settings.client_environment()
        with (self.terminal.with_name("pipeline")).open("w") as out:
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
        words = {"mlflow": "mlflow server", "prefect": "prefect server"}.get(victim, "worker start --pool cuda")
        processes = psutil.Process(self.stack.pid).children(recursive=True)
        service = next(one for one in processes if words in " ".join(one.cmdline()))
        (service.children()[0] if victim == "flow run" else service).kill()
        print(f"killed {victim}", flush=True)


def wait_for(what: str, is_true: Callable[[], object]) -> None:
    """Wait until the condition is true."""
    until = time.monotonic() + TIMEOUT
    while not is_true():
        if time.monotonic() > until:
            raise SystemExit(f"{what}: not within {TIMEOUT:g} s")
        time.sleep(0.2)


def newest_checkpoint(store: Path) -> float:
    """Return the time of the last checkpoint of an unfinished training."""
    files = store.glob("runs/.*.partial/last.safetensors")
    return max((file.stat().st_mtime for file in files if file.exists()), default=0.0)


def weights(store: Path) -> dict[str, str]:
    """Return run folder -> SHA-256 of its best checkpoint."""
    files = sorted(store.glob("runs/[0-9a-f]*/model.safetensors"))
    return {file.parent.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def survive(stack: Stack) -> None:
    """Kill all victims, and repeat the commands until the pipeline run has completed."""
    stack.start()
    for victim in VICTIMS:
        before = newest_checkpoint(stack.store)
        wait_for("a checkpoint", lambda before=before: newest_checkpoint(stack.store) > before or stack.run.poll() == 0)  # type: ignore[misc]
        if stack.run.poll() == 0:
            raise SystemExit(f"training ended before {victim} was killed: pass more --epochs")
        stack.kill(victim)
        if victim != "flow run":
            wait_for("the end of the stack", lambda: not stack.is_up())
            print([line for line in stack.terminal.read_text().splitlines() if "stopped" in line], flush=True)
            stack.end()
            stack.start()
    wait_for("the pipeline run", lambda: stack.run.poll() is not None)
    print((stack.terminal.with_name("pipeline")).read_text()[-500:], flush=True)


def main() -> None:
    """Run the test; exit with an error if the results differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="folder of both stores; default: a temporary one")
    parser.add_argument("--epochs", type=int, default=60, help="epochs of pretraining")
    options = parser.parse_args()
    with TemporaryDirectory(prefix="uplift-crashes-") as temporary:
        folder = (options.folder or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        preset, reference, stack = folder / "tiny.yaml", folder / "reference", Stack(folder, folder / "tiny.yaml")
        parameters = load_preset("demo", [*TINY, f"pretrain.max_epochs={options.epochs}"])
        preset.write_text(yaml.safe_dump(parameters.model_dump(mode="json")))
        command = [sys.executable, "-m", "flows.cli", "pipeline", "--preset", str(preset)]
        one_thread = os.environ | {"OMP_NUM_THREADS": "1"}
        subprocess.run([*command, "--store", str(reference)], cwd=ROOT, env=one_thread, check=True, capture_output=True)
        began = time.monotonic()
        try:
            survive(stack)
        finally:
            stack.end()
        found, expected, partial = weights(stack.store), weights(reference), [*stack.store.glob("*/.*.partial")]
        if found != expected or partial:
            raise SystemExit(f"weights {found}, expected {expected}; unfinished folders: {partial}")
        print(f"same weights after {len(VICTIMS)} kills, in {time.monotonic() - began:.0f} s: {expected}")


if __name__ == "__main__":
    main()
