"""Run a training job in this process, or in several processes started by `torch.distributed.run`.

    python -m torch.distributed.run --nproc-per-node 2 -m model.training.job JOB.json

`run_on_devices` starts that command. The first process prints progress as lines of JSON that begin with `MARK`; all
other lines are log lines. The outcome goes to a file, because only short lines stay whole in a pipe of processes.
"""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from torch import distributed

from data_contracts.errors import InputError
from data_contracts.parameters import Objective, Runtime, TrainingParameters
from model.data.loading import TrainingWindows, load_windows
from model.network.network import PoseNetwork
from model.training.checkpoints import Progress, load_network, save_network
from model.training.devices import make_fabric
from model.training.loop import fit

JOB_FILE, START_FILE, OUTCOME_FILE = "job.json", "start.safetensors", "outcome.json"
MARK = "@uplift "
ENDS_WITH_PARENT = "UPLIFT_ENDS_WITH_PARENT"
SECONDS_TO_SAVE = 60  # for processes to write `last.safetensors` after SIGTERM
LINES_KEPT = 60  # last lines of failed processes
SECONDS_BETWEEN = 0.5  # between two progress reports

OnEpoch = Callable[[dict[str, float]], None]
OnStep = Callable[[int, int], None]


class Job(BaseModel):
    """Description of a training run; `windows` is the folder of a convert stage."""

    folder: Path
    windows: Path
    parameters: TrainingParameters
    objective: Objective
    runtime: Runtime
    freeze_backbone: bool = False


def run(job: Job, network: PoseNetwork, on_epoch: OnEpoch, on_step: OnStep, on_line: Callable[[str], None]) -> Progress:
    """Train `network` in this process; see `model.training.loop.fit`."""
    fabric, memory_gb = make_fabric(job.runtime, job.parameters.precision), job.runtime.memory_gb
    train = load_windows(job.windows, "train", memory_gb, fabric.device, job.parameters.augmentation.wanted)
    val = load_windows(job.windows, "val", memory_gb, fabric.device)
    on_line(
        f"{len(train)} windows of {train.window} frames on {fabric.world_size} x {fabric.device.type},"
        f" {len(val)} to validate"
    )
    network.backbone.requires_grad_(not job.freeze_backbone)
    windows = TrainingWindows(train, val)
    return fit(network, windows, job.parameters, job.objective, job.folder, fabric, job.runtime, on_epoch, on_step)


def run_on_devices(
    job: Job, network: PoseNetwork, on_epoch: OnEpoch, on_step: OnStep, on_line: Callable[[str], None]
) -> Progress:
    """Train in `runtime.devices` processes on this machine, with those of other nodes; `network` is not changed.

    Raises the errors of `fit`. If a process fails with another error, raises a RuntimeError with the last log lines.
    """
    save_network(job.folder / START_FILE, network, {})
    (job.folder / JOB_FILE).write_text(job.model_dump_json(), encoding="utf-8")
    written = job.folder / OUTCOME_FILE
    written.unlink(missing_ok=True)
    for node in range(1, job.runtime.nodes):
        on_line(f"on another machine, start: {' '.join(distributed_command(job, node))}")
    root = str(Path(__file__).parents[2])
    paths = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    process = subprocess.Popen(
        [sys.executable, *distributed_command(job, 0)[1:]],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=os.environ | {"PYTHONPATH": paths, ENDS_WITH_PARENT: "1"},
        start_new_session=True,
    )
    lines: list[str] = []
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(MARK):
                reported = json.loads(line.removeprefix(MARK))
                if "epoch" in reported:
                    on_epoch(reported["epoch"])
                else:
                    on_step(reported["step"], reported["steps"])
            elif line.strip():
                lines = [*lines[-LINES_KEPT:], line.rstrip()]
                on_line(line.rstrip())
        process.wait()
    finally:
        _end(process)
    outcome = json.loads(written.read_text(encoding="utf-8")) if written.exists() else {}
    if "refused" in outcome:
        raise InputError(outcome["refused"])
    if process.returncode or "progress" not in outcome:
        raise RuntimeError(f"training ended with exit code {process.returncode}; its last lines:\n" + "\n".join(lines))
    return Progress(**outcome["progress"])


def distributed_command(job: Job, node: int) -> list[str]:
    """Return the command line that starts the processes of one machine; node 0 is this machine.

    Several nodes without a valid `runtime.rendezvous` raise an InputError.
    """
    runtime = job.runtime
    meet = "--standalone"
    if runtime.nodes > 1:
        host, colon, port = (runtime.rendezvous or "").rpartition(":")
        if not (host and colon and port.isdigit()):
            raise InputError(
                f"runtime.rendezvous is {runtime.rendezvous!r}; with several runtime.nodes pass"
                " --set runtime.rendezvous=HOST:PORT of this machine"
            )
        meet = f"--nnodes {runtime.nodes} --node-rank {node} --master-addr {host} --master-port {port}"
    start = f"python -m torch.distributed.run {meet} --nproc-per-node {runtime.devices} -m model.training.job"
    return [*start.split(), str(job.folder / JOB_FILE)]


def main() -> None:
    """Run one process of `torch.distributed.run`, for the job file on the command line."""
    job = Job.model_validate_json(Path(sys.argv[1]).read_text(encoding="utf-8"))
    if ENDS_WITH_PARENT in os.environ:
        threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
    printed = 0.0

    def end(**outcome: Any) -> None:
        temporary = job.folder / f".{OUTCOME_FILE}.{os.getpid()}"
        temporary.write_text(json.dumps(outcome), encoding="utf-8")
        temporary.replace(job.folder / OUTCOME_FILE)

    def on_step(step: int, steps: int) -> None:
        nonlocal printed
        if time.monotonic() - printed > SECONDS_BETWEEN:
            printed = time.monotonic()
            report(step=step, steps=steps)

    def on_line(line: str) -> None:
        if _first():
            print(line, flush=True)

    try:
        network = load_network(job.folder / START_FILE)
        progress = run(job, network, lambda record: report(epoch=record), on_step, on_line)
    except InputError as error:
        end(refused=str(error))  # by any process, since the others may be killed first
        sys.exit(f"process {os.environ.get('RANK', 0)}: {error}")
    if _first():
        end(progress=vars(progress))
    if distributed.is_initialized():
        distributed.destroy_process_group()


def report(**what: Any) -> None:
    """Print progress on one line, by one write of fewer than PIPE_BUF bytes, so that lines of processes do not mix."""
    if _first():
        os.write(sys.stdout.fileno(), f"\n{MARK}{json.dumps(what)}\n".encode())


def _first() -> bool:
    return os.environ.get("RANK", "0") == "0"


def _end(process: subprocess.Popen) -> None:
    """Send SIGTERM, on which the processes save a checkpoint; kill processes that run after `SECONDS_TO_SAVE`."""
    try:
        if process.poll() is None:
            process.terminate()
            process.wait(SECONDS_TO_SAVE)
    except subprocess.TimeoutExpired:
        process.kill()
    finally:
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            pipe.close()
        process.wait()


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    main()
