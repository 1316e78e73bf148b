"""What is done to a night once it has begun, and what is tried without one."""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from benchmarks.crashes.nights import finished, versions
from benchmarks.crashes.target import DISK_MB, NotAsPromised, Stack, start_stack
from benchmarks.stack import FINAL, ROOT, TINY, ask
from data_contracts.presets import load_preset
from data_contracts.store.checking import check_folder

FULL_SECONDS = 180  # at most


def in_ingest(stack: Stack) -> None:
    """kill -9 while clips are written."""
    stack.until("clips are written", lambda: stack.partial("clips"))
    stack.kill_flow("pipeline", "while it ingests")


def in_convert(stack: Stack) -> None:
    """kill -9 while windows are written."""
    stack.until("windows are written", lambda: stack.partial("windows"))
    stack.kill_flow("pipeline", "while it converts")


def in_pretrain(stack: Stack) -> None:
    """kill -9 of the training process once it has a checkpoint."""
    stack.until("pretraining has a checkpoint", lambda: stack.partial("runs", "last.safetensors"))
    stack.kill_flow("pretrain", "after a `last` checkpoint")


def in_finetune(stack: Stack) -> None:
    """kill -9 of the fine-tuning process once it has a checkpoint."""

    def tuning() -> bool:
        return bool(finished(stack.store, "runs") and stack.partial("runs", "last.safetensors"))

    stack.until("fine-tuning has a checkpoint", tuning)
    stack.kill_flow("finetune", "after a `last` checkpoint")


def in_evaluate(stack: Stack) -> None:
    """kill -9 of the evaluating process."""
    stack.until("a report is written", lambda: [*(stack.store / "reports").glob(".*.partial")])
    stack.kill_flow("evaluate", "while it scores")


def in_registration(stack: Stack) -> None:
    """kill -9 of the night's process once the version is there."""
    stack.until("the model is registered", lambda: versions(stack.mlflow), pause=0.01)
    stack.kill_flow("pipeline", "while it registers, the version being there")


def in_promotion(stack: Stack) -> None:
    """kill -9 of the night's process while it decides."""
    stack.until("it is decided", lambda: stack.tasks("decide"), pause=0.02)
    stack.kill_flow("pipeline", "while it promotes")


def of_worker(stack: Stack) -> None:
    """kill -9 of the worker that runs the training; its process ends too, its output being a pipe to the worker."""
    stack.until("pretraining has a checkpoint", lambda: stack.partial("runs", "last.safetensors"))
    stack.kill_part("worker-cuda")


def of_both(stack: Stack) -> None:
    """kill -9 of the worker and of the training process that it runs."""
    stack.until("pretraining has a checkpoint", lambda: stack.partial("runs", "last.safetensors"))
    stack.kill_part("worker-cuda")
    stack.kill_flow("pretrain", "too")


def of_mlflow(stack: Stack) -> None:
    """kill -9 of the MLflow server during training; it is started again."""
    stack.until("pretraining has a checkpoint", lambda: stack.partial("runs", "last.safetensors"))
    stack.kill_part("mlflow")
    stack.said.append(f"started again {stack.down:g} s later")


def of_prefect(stack: Stack) -> None:
    """kill -9 of the Prefect server during training; it is started again."""
    stack.until("pretraining has a checkpoint", lambda: stack.partial("runs", "last.safetensors"))
    stack.kill_part("prefect")
    stack.said.append(f"started again {stack.down:g} s later")
    time.sleep(stack.down + 5)


def on_a_full_disk(stack: Stack) -> None:
    """The disk of store and databases is full during training; then somebody makes room (tmpfs: as root)."""
    stack.until("pretraining has a checkpoint", lambda: stack.partial("runs", "last.safetensors"))
    filler = fill_disk(stack)
    time.sleep(stack.down)
    filler.unlink()
    stack.said.append(f"tmpfs of {DISK_MB} MB as the store, filled to its last byte for {stack.down:g} s")


def on_a_disk_that_stays_full(stack: Stack) -> None:
    """The same until the night has ended, for three minutes at most; then somebody makes room."""
    stack.until("pretraining has a checkpoint", lambda: stack.partial("runs", "last.safetensors"))
    filler, began = fill_disk(stack), time.monotonic()
    ended = False
    while not ended and time.monotonic() - began < FULL_SECONDS:
        time.sleep(2)
        with suppress(OSError):
            ended = stack.state()["type"] in FINAL
    filler.unlink()
    until = "the night had ended" if ended else f"{FULL_SECONDS} s later"
    stack.said.append(f"tmpfs of {DISK_MB} MB as the store, filled to its last byte until {until}")


def fill_disk(stack: Stack) -> Path:
    """A file that takes what room there is."""
    filler = stack.store / "filler"
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(1 << 16))
    return filler


CASES: dict[str, Callable[[Stack], None]] = {
    "pretrain": in_pretrain,
    "finetune": in_finetune,
    "ingest": in_ingest,
    "convert": in_convert,
    "promotion": in_promotion,
    "worker": of_worker,
    "prefect": of_prefect,
    "mlflow": of_mlflow,
    "registration": in_registration,
    "evaluate": in_evaluate,
    "both": of_both,
    "disk": on_a_full_disk,
    "full disk": on_a_disk_that_stays_full,
}


def replaced_source(root: Path, _: argparse.Namespace) -> tuple[str, str]:
    """The motion file is replaced while `uplift ingest` reads it."""
    folder = root / "source"
    first, second = (synthetic(folder / f"made-{seed}", seed) for seed in (1, 2))
    command = [sys.executable, "-m", "flows.command_line", "ingest", str(first), "--set=ingest.min_frames=10"]
    environment = {**os.environ, "PREFECT_HOME": str(folder / "home"), "UPLIFT_STORE": str(folder / "store")}
    for name in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI"):
        environment.pop(name, None)
    reading = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
    while reading.poll() is None and not list((folder / "store" / "clips").glob(".*.partial")):
        time.sleep(0.005)
    second.replace(first)
    said = reading.communicate()[1]
    if reading.returncode == 0 or finished(folder / "store", "clips"):
        raise NotAsPromised("clips of a file that was replaced meanwhile were published")
    why = said.strip().splitlines()[-1].replace(str(first), first.name)
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
    environment["UPLIFT_STORE"] = str(folder / "another-store")
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
    here, there = (finished(folder / store, "clips") for store in ("store", "another-store"))
    if [check_folder(one).digest for one in here] != [check_folder(one).digest for one in there]:
        raise NotAsPromised(f"{here} are not the clips of the new file, {there}")
    return "the motion file replaced while it is read", f"`{why}` Then the same command"


def repeated_hour(root: Path, options: argparse.Namespace) -> tuple[str, str]:
    """Nights at 02:30 in Europe/Berlin when that hour comes twice (2027-10-31), and not at all (2027-03-28)."""
    told = {"UPLIFT_NIGHT_CRON": "30 2 * * *", "UPLIFT_NIGHT_TIMEZONE": "Europe/Berlin", "UPLIFT_WORKERS": "cuda"}
    with start_stack(root / "clock", options.down, options.hours, told) as stack:
        nightly = ask(f"{stack.api}/deployments/name/pipeline/nightly")["id"]
        said = []
        for day in ("2027-10-31", "2027-03-28"):
            noon = datetime.fromisoformat(f"{day}T12:00:00+00:00")
            window = {"start_time": noon - timedelta(days=2.5), "end_time": noon + timedelta(days=4)}
            asked = {name: moment.isoformat() for name, moment in window.items()} | {"min_runs": 6, "max_runs": 6}
            ask(f"{stack.api}/deployments/{nightly}/schedule", asked)
            within = {"after_": asked["start_time"], "before_": asked["end_time"]}
            wanted_ = {"deployment_id": {"any_": [nightly]}, "expected_start_time": within}
            runs = ask(f"{stack.api}/flow_runs/filter", {"flow_runs": wanted_})
            starts = sorted(datetime.fromisoformat(run["expected_start_time"]) for run in runs)
            local = [start.astimezone(ZoneInfo("Europe/Berlin")) for start in starts]
            days = [start.date().isoformat() for start in local]
            if len(days) != len(set(days)) or len(days) < 4:
                raise NotAsPromised(f"around {day} nights begin at {[str(start) for start in local]}")
            said += [f"{start:%Y-%m-%d %H:%M %Z}" for start in local if start.date().isoformat() == day]
            said += [f"{day} has none"] if day not in days else []
        return "cron `30 2 * * *` in Europe/Berlin", f"one night a day: {', '.join(said)}"


OTHERS: dict[str, Callable[[Path, argparse.Namespace], tuple[str, str]]] = {
    "source": replaced_source,
    "clock": repeated_hour,
}


def synthetic(store: Path, seed: int) -> Path:
    """A pickle of synthetic motion."""
    from tasks.synthesise import PICKLE_FILE, synthesise_motion

    parameters = load_preset("demo", [*TINY, f"synthetic.seed={seed}"])
    return Path(synthesise_motion.fn(store, parameters.synthetic).path) / PICKLE_FILE
