"""Does each crash for real while a night runs, and checks what is left of it.

    python -m benchmarks.crashes [--only pretrain mlflow] [--list] [--down 60] [--hours 0.5] [--keep FOLDER]

For every case `uplift up` is started in a store of its own, on free ports, and a run of `pipeline/nightly` with a night
small enough for a minute. The crash is done at the moment that the case names; then the night ends by itself, or, where
its own process died or it failed, by one command that is printed and run: `prefect flow-run retry ID`. `--down` seconds
are those until a server that was killed is started again (UPLIFT_RESTART_SECONDS).

Then the store must be as one night leaves it that nobody disturbed (made first, by `uplift pipeline`): the same digests
and no other folder, each as `uplift check` wants it; in the folders of clips, windows and checkpoints the same bytes;
every step of training logged once; one version with the same aliases; nothing half done; no run that is still at work
in MLflow or in Prefect, `UPLIFT_SILENT_MINUTES` (3) and some more minutes later at the latest. A line of a Markdown
table is printed for each case; ends with an error where one is not as promised.
"""

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import mkdtemp
from typing import Any
from zoneinfo import ZoneInfo

import psutil

from benchmarks.two_nights import ROOT, TINY, ask, free_ports
from data_contracts.errors import InputError
from data_contracts.presets import load_preset
from data_contracts.store.checking import check_folder
from data_contracts.store.digests import KINDS
from data_contracts.store.manifests import MANIFEST, read_manifest

SILENT_MINUTES = 3
DISK_MB = 100
HAND_SECONDS = 20  # until somebody types the command: a worker says twice that a process died, some seconds apart
SETTINGS = (*TINY, "pretrain.max_epochs=4", "pretrain.patience=4", "pretrain.keep_top=1", "finetune.max_epochs=2")
WHERE = ("runtime.checkpoint_minutes=0.01", "runtime.wait_minutes=5")  # where it runs: no result
FINAL = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
EXACT = ("clips", "windows", "runs")  # kinds of folders that are the same to the byte; a baseline learns for minutes
TABLE = "| case | what was done | how the night ended | seconds | as undisturbed |\n|---|---|---|---:|---|"


class NotAsPromised(Exception):
    """What is wrong, in a line."""


@dataclass
class Stack:
    """`uplift up` at work in a store of its own."""

    store: Path
    api: str
    mlflow: str
    process: subprocess.Popen[str]
    down: float
    hours: float
    night: str = ""  # id of the flow run
    said: list[str] = field(default_factory=list)  # what was done

    def start_night(self) -> None:
        """A run of `pipeline/nightly`."""
        nightly = ask(f"{self.api}/deployments/name/pipeline/nightly")["id"]
        given = {"parameters": wanted().model_dump(mode="json"), "train_on": "cuda", "promote": "gate"}
        self.night = ask(f"{self.api}/deployments/{nightly}/create_flow_run", {"parameters": given})["id"]

    def state(self, run: str | None = None) -> dict[str, Any]:
        """Of a flow run, the night's if none is named."""
        found: dict[str, Any] = ask(f"{self.api}/flow_runs/{run or self.night}")["state"]
        return found

    def until(self, what: str, is_so: Callable[[], Any], pause: float = 0.05) -> Any:
        """What `is_so` gives once it gives something; the night must not end before."""
        asked, end = time.monotonic(), time.monotonic() + 3600 * self.hours
        while not (found := is_so()):
            if time.monotonic() > end:
                raise NotAsPromised(f"{what}: not within {self.hours:g} hours")
            if time.monotonic() - asked > 5:
                asked = time.monotonic()
                state = self.state()
                if state["type"] in FINAL:
                    raise NotAsPromised(f"{what}: the night ended before, {in_a_line(state)}")
            time.sleep(pause)
        return found

    def process_of(self, flow: str) -> tuple[str, int]:
        """Flow run and process of a flow that is at work: the deployment's run, not one within another's process."""
        for process in self.processes():
            with suppress(psutil.Error):
                run = process.environ().get("PREFECT__FLOW_RUN_ID")
                if run and flow_of(self.api, ask(f"{self.api}/flow_runs/{run}")) == flow:
                    return run, process.pid
        raise NotAsPromised(f"no process of {flow} is at work")

    def part(self, name: str) -> list[psutil.Process]:
        """Processes of a part of the stack, without who keeps it and without flow runs."""
        found = []
        for process in self.processes():
            with suppress(psutil.Error):
                told = process.environ()
                if told.get("UPLIFT_PART") == name and "PREFECT__FLOW_RUN_ID" not in told:
                    found.append(process)
        return found

    def processes(self) -> list[psutil.Process]:
        """All that bear the store's name."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get("UPLIFT_STORE") == str(self.store) and process.pid != self.process.pid:
                    found.append(process)
        return found

    def kill_flow(self, flow: str, where: str) -> None:
        """-9 for the process that a flow runs in."""
        run, pid = self.process_of(flow)
        os.kill(pid, signal.SIGKILL)
        self.said.append(f"kill -9 of the process of `{flow}` {where}")
        print(f"    killed process {pid} of {flow}, flow run {run}", flush=True)

    def kill_part(self, name: str) -> None:
        """-9 for a server or a worker."""
        found = self.part(name)
        if not found:
            raise NotAsPromised(f"no process of {name}")
        for process in found:
            process.kill()
        self.said.append(f"kill -9 of {name}")
        print(f"    killed {name}: {len(found)} processes", flush=True)

    def partial(self, kind: str, file: str = "*") -> list[Path]:
        """Files in folders of a kind that are being written."""
        return [path for folder in (self.store / kind).glob(".*.partial") for path in folder.glob(file)]

    def tasks(self, name: str) -> list[dict[str, Any]]:
        """Task runs of that name that are at work."""
        asked = {"task_runs": {"name": {"like_": name}, "state": {"type": {"any_": ["RUNNING"]}}}}
        found: list[dict[str, Any]] = ask(f"{self.api}/task_runs/filter", asked)
        return found


# ---- the cases: what is done once the night has begun


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
    filler = stack.store / "filler"
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(1 << 16))
    time.sleep(stack.down)
    filler.unlink()
    stack.said.append(f"tmpfs of {DISK_MB} MB as the store, filled to its last byte for {stack.down:g} s")


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
}


# ---- the cases without a night


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
    _, said = reading.communicate()
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


# ---- a case from its start to its line of the table


def main() -> None:
    """Run it as described above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(CASES | OTHERS), metavar="CASE", default=list(CASES | OTHERS))
    parser.add_argument("--list", action="store_true", help="the cases, and nothing is done")
    parser.add_argument("--down", type=float, default=60, help="seconds until a part that was killed starts again")
    parser.add_argument("--hours", type=float, default=0.5, help="that a case may take at most")
    parser.add_argument(
        "--keep", help="a folder for the stores, in which the undisturbed one is used again; else removed"
    )
    options = parser.parse_args()
    if options.list:
        for name, case in [*CASES.items(), *OTHERS.items()]:
            print(f"{name:14} {case.__doc__}")
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that every stack ends
    root = Path(options.keep or mkdtemp(prefix="uplift-crashes-")).resolve()
    root.mkdir(parents=True, exist_ok=True)
    try:
        reference = undisturbed(root)
        print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores\n\n{TABLE}", flush=True)
        wrong = [name for name in options.only if not run_case(name, root, reference, options)]
    finally:
        if not options.keep:
            shutil.rmtree(root, ignore_errors=True)
    if wrong:
        raise SystemExit(f"not as promised: {', '.join(wrong)}")


def run_case(name: str, root: Path, reference: dict[str, Any], options: argparse.Namespace) -> bool:
    """Its line of the table; whether all was as promised."""
    started, folder, ended, verdict = time.monotonic(), root / name, "", "yes"
    stack, what = None, ""
    shutil.rmtree(folder, ignore_errors=True)  # of a time before
    try:
        if name in OTHERS:
            what, ended = OTHERS[name](root, options)
            print(f"| `{name}` | {what} | {ended} | {time.monotonic() - started:.0f} | {verdict} |", flush=True)
            return True
        with start_stack(folder, options.down, options.hours, on_tmpfs=name == "disk") as stack:
            started = time.monotonic()
            stack.start_night()
            CASES[name](stack)
            ended = bring_to_its_end(stack)
            seconds = time.monotonic() - started
            must_be_over(stack)
            must_be_as(reference, stack)
    except (NotAsPromised, InputError) as error:
        seconds, verdict = time.monotonic() - started, f"**no**: {error}"
    what = "; ".join(stack.said) if stack else what
    print(f"| `{name}` | {what} | {ended} | {seconds:.0f} | {verdict} |", flush=True)
    return verdict == "yes"


def bring_to_its_end(stack: Stack) -> str:
    """Wait for the night, by one command more where it needs that; says how it ended."""
    state = final_state(stack)
    if state["type"] == "COMPLETED":
        again = runs_again(stack)
        return "by itself" + (f", {again} started again" if again else "")
    why, command = in_a_line(state), ["prefect", "flow-run", "retry", stack.night]
    print(f"    the night is {why}\n    {' '.join(command)}", flush=True)
    environment = {**os.environ, "PREFECT_API_URL": stack.api}
    time.sleep(HAND_SECONDS)
    subprocess.run([sys.executable, "-m", *command], check=True, env=environment, stdout=subprocess.DEVNULL)
    state = final_state(stack)
    if state["type"] != "COMPLETED":
        raise NotAsPromised(f"the night is {why}, and after `prefect flow-run retry` {in_a_line(state)}")
    return f"{why.partition('. ')[0]}. Then `prefect flow-run retry`"


def final_state(stack: Stack) -> dict[str, Any]:
    """Of the night, once it has ended."""
    end = time.monotonic() + 3600 * stack.hours
    while time.monotonic() < end:
        with suppress(OSError):
            state = stack.state()
            if state["type"] in FINAL:
                return state
        time.sleep(1)
    raise NotAsPromised(f"the night is still {in_a_line(stack.state())} after {stack.hours:g} hours")


def runs_again(stack: Stack) -> str:
    """Stages whose process died and which the night started again."""
    crashed = ask(f"{stack.api}/flow_runs/filter", {"flow_runs": {"state": {"type": {"any_": ["CRASHED"]}}}})
    return ", ".join(sorted({flow_of(stack.api, run) for run in crashed}))


def must_be_over(stack: Stack) -> None:
    """No run is at work in Prefect or MLflow, once silence was noticed."""
    end = time.monotonic() + 60 * (SILENT_MINUTES + 3)
    asked = {"flow_runs": {"state": {"type": {"any_": ["RUNNING", "PENDING", "CANCELLING", "PAUSED"]}}}}
    while (at_work := ask(f"{stack.api}/flow_runs/filter", asked)) and time.monotonic() < end:
        time.sleep(5)
    if at_work:
        names = [f"{flow_of(stack.api, run)} {run['name']}" for run in at_work]
        raise NotAsPromised(f"still {at_work[0]['state']['name']} in Prefect: {', '.join(names)}")
    if running := mlflow_runs(stack.mlflow, "attributes.status = 'RUNNING'"):
        raise NotAsPromised(f"still RUNNING in MLflow: {', '.join(run['info']['run_name'] for run in running)}")


def must_be_as(reference: dict[str, Any], stack: Stack) -> None:
    """The store and its registry are as the undisturbed night's."""
    found = outcome(stack.store, stack.mlflow)
    for what, wanted_ in reference.items():
        if found[what] != wanted_:
            raise NotAsPromised(f"{what}: {found[what]}, undisturbed {wanted_}")
    for run in mlflow_runs(stack.mlflow, "tags.`uplift.stage` = 'pretrain'"):
        history = ask(
            f"{stack.mlflow}/api/2.0/mlflow/metrics/get-history?run_id={run['info']['run_id']}&metric_key=loss"
        )
        steps = [entry.get("step", 0) for entry in history["metrics"]]
        if len(steps) != len(set(steps)):
            raise NotAsPromised(f"a step was logged twice: {steps}")


# ---- what a night leaves


def wanted() -> Any:
    """Parameters of the night."""
    return load_preset(str(ROOT / "benchmarks/small.yaml"), [*SETTINGS, *WHERE])


def undisturbed(root: Path) -> dict[str, Any]:
    """What a night leaves that nobody disturbed, in a store with an MLflow of its own."""
    store, (port,), kept = root / "undisturbed", free_ports(1), root / "undisturbed.json"
    if kept.exists():
        return dict(json.loads(kept.read_text()))
    environment = {**os.environ, "PREFECT_HOME": str(root / "undisturbed-home"), "OMP_NUM_THREADS": "1"}
    for name in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI"):
        environment.pop(name, None)
    settings = [f"--set={setting}" for setting in (*SETTINGS, *WHERE)]
    command = [sys.executable, "-m", "flows.command_line", "pipeline", "--promote", "gate", "--store", str(store)]
    command += ["--preset", str(ROOT / "benchmarks/small.yaml"), *settings]
    started = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"the undisturbed night ended with {done.returncode}: {done.stderr[-2000:]}")
    print(f"undisturbed: {time.monotonic() - started:.0f} s", flush=True)
    told = {**environment, "UPLIFT_STORE": str(store), "UPLIFT_MLFLOW_PORT": str(port)}
    log = (root / "undisturbed.log").open("w")
    server = subprocess.Popen(
        [sys.executable, "-m", "flows.stack.parts", "mlflow"],
        cwd=ROOT,
        env=told,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    try:
        for _ in range(600):
            with suppress(OSError):
                found = outcome(store, f"http://127.0.0.1:{port}")
                kept.write_text(json.dumps(found))
                return found
            time.sleep(0.5)
        raise SystemExit(f"its MLflow did not answer; see {log.name}")
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()
        log.close()


def outcome(store: Path, mlflow: str) -> dict[str, Any]:
    """What is compared: folders by digest, bytes, versions, what is half done."""
    folders = [folder for kind in sorted(set(KINDS.values())) for folder in finished(store, kind)]
    for folder in folders:
        check_folder(folder)
    files = {
        f"{folder.parent.name}/{folder.name}": read_manifest(folder)["files"]
        for folder in folders
        if folder.parent.name in EXACT
    }
    return {
        "folders": [f"{folder.parent.name}/{folder.name}" for folder in folders],
        "files": files,
        "half done": [str(path.relative_to(store)) for path in store.glob("*/.*.partial")],
        "versions": versions(mlflow),
    }


def finished(store: Path, kind: str) -> list[Path]:
    """Finished folders of a kind."""
    return [
        path.parent for path in sorted((store / kind).glob(f"*/{MANIFEST}")) if not path.parent.name.startswith(".")
    ]


def versions(mlflow: str) -> list[list[Any]]:
    """Number and aliases of every version."""
    found = ask(f"{mlflow}/api/2.0/mlflow/registered-models/search")
    models = found.get("registered_models", [])
    listed = ask(f"{mlflow}/api/2.0/mlflow/model-versions/search") if models else {}
    aliases = [(entry["alias"], entry["version"]) for model in models for entry in model.get("aliases", [])]
    return sorted(
        [one["version"], sorted(alias for alias, number in aliases if number == one["version"])]
        for one in listed.get("model_versions", [])
    )


def mlflow_runs(mlflow: str, wanted_: str) -> list[dict[str, Any]]:
    """Runs by a filter of MLflow's."""
    experiments = ask(f"{mlflow}/api/2.0/mlflow/experiments/search", {"max_results": 100})["experiments"]
    ids = [one["experiment_id"] for one in experiments]
    asked = {"experiment_ids": ids, "filter": wanted_, "max_results": 1000}
    found: list[dict[str, Any]] = ask(f"{mlflow}/api/2.0/mlflow/runs/search", asked).get("runs", [])
    return found


def flow_of(api: str, run: dict[str, Any]) -> str:
    """Name of a flow run's flow."""
    return str(ask(f"{api}/flows/{run['flow_id']}")["name"])


def in_a_line(state: dict[str, Any]) -> str:
    """A state with its reason."""
    return " ".join(f"{state['name']}: {state['message'] or ''}".split())


@contextmanager
def start_stack(
    folder: Path, down: float, hours: float, told: dict[str, str] | None = None, on_tmpfs: bool = False
) -> Iterator[Stack]:
    """`uplift up`, told some more variables; all of it ends with the block."""
    store = folder / "store"
    store.mkdir(parents=True, exist_ok=True)
    if on_tmpfs:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(store)], check=True)
    try:
        with _start(folder, store, down, hours, told or {}) as stack:
            yield stack
    finally:
        if on_tmpfs:
            subprocess.run(["umount", "--lazy", str(store)], check=True)


@contextmanager
def _start(folder: Path, store: Path, down: float, hours: float, told: dict[str, str]) -> Iterator[Stack]:
    prefect, mlflow = free_ports(2)
    environment = os.environ | {
        "PREFECT_HOME": str(folder / "home"),
        "UPLIFT_STORE": str(store),
        "UPLIFT_PREFECT_PORT": str(prefect),
        "UPLIFT_MLFLOW_PORT": str(mlflow),
        "UPLIFT_SILENT_MINUTES": str(SILENT_MINUTES),
        "UPLIFT_RESTART_SECONDS": f"{down:g}",
        "OMP_NUM_THREADS": "1",
        **told,
    }
    command = [sys.executable, "-m", "flows.command_line", "up"]
    with (folder / "terminal").open("w") as terminal:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=terminal, stderr=terminal, text=True)
    try:
        for _ in range(1200):
            if "Ctrl-C here" in (folder / "terminal").read_text() or process.poll() is not None:
                break
            time.sleep(0.5)
        if process.poll() is not None:
            raise SystemExit(f"the stack did not start: {(folder / 'terminal').read_text()[-2000:]}")
        urls = f"http://127.0.0.1:{prefect}/api", f"http://127.0.0.1:{mlflow}"
        stack = Stack(store, *urls, process, down, hours)
        yield stack
        if process.poll() is not None:
            raise NotAsPromised(f"the stack ended by itself: {(folder / 'terminal').read_text()[-500:]}")
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        process.wait()


if __name__ == "__main__":
    main()
