"""A night over two machines: two network namespaces of this one, joined by a cable, which share a store folder.

    sudo python -m benchmarks.two_machines [--preset demo] [--set path=value ...] [--sqlite]

The first has PostgreSQL, both servers (on all addresses, with a password) and the worker of pool cpu: `uplift up`. The
second has the worker of pool cuda alone, started as docs/running.md says, from a copy of the project at another path.
Nothing is in the store. There `prefect deployment run 'pipeline/nightly' --watch` is typed, twice: the first must train
on the second machine and end Completed with a registered version, the second find everything there. Printed: whom a
server refuses without the password, what each machine ran, and the seconds.
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.postgresql import postgresql_server
from benchmarks.stack import ROOT, uplift_up

FIRST, SECOND = "uplift-first", "uplift-second"
ADDRESSES = {FIRST: "10.200.0.1", SECOND: "10.200.0.2"}  # private, as MLflow wants who asks for it by number
PASSWORD = "of-this-measurement"
SERVERS = {
    "PREFECT_API_URL": f"http://{ADDRESSES[FIRST]}:4200/api",
    "MLFLOW_TRACKING_URI": f"http://{ADDRESSES[FIRST]}:5000",
}
CLIENT = {"PREFECT_API_AUTH_STRING": f"uplift:{PASSWORD}", "MLFLOW_TRACKING_USERNAME": "uplift"}
CLIENT |= {"MLFLOW_TRACKING_PASSWORD": PASSWORD}
TRAINS = ("pretrain", "finetune", "baselines", "evaluate")
ASKING = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=10).status)"


def main() -> None:
    """Run it as described above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="demo")
    parser.add_argument("--set", dest="changes", action="append", default=[], metavar="PATH=VALUE")
    parser.add_argument("--sqlite", action="store_true", help="instead of PostgreSQL")
    options = parser.parse_args()
    if os.geteuid() != 0:
        raise SystemExit("network namespaces are made by root")
    with TemporaryDirectory() as name, ExitStack() as ended:
        folder = Path(name)
        preset = write_preset(folder, options.preset, options.changes)
        database = "" if options.sqlite else ended.enter_context(postgresql_server())
        ended.enter_context(two_namespaces())
        project = copy_project(folder / "elsewhere")
        shared = {**os.environ, "UPLIFT_STORE": str(folder / "store"), "UPLIFT_API_PASSWORD": PASSWORD}
        first = shared | {"UPLIFT_HOST": "0.0.0.0", "UPLIFT_WORKERS": "cpu", "PREFECT_HOME": str(folder / "home-1")}
        first |= {"UPLIFT_DATABASE_URL": database, "UPLIFT_PRESET": str(preset)}
        second = shared | SERVERS | {"PREFECT_HOME": str(folder / "home-2"), "PYTHONPATH": str(project)}
        ended.enter_context(uplift_up(first, folder / "up.log", ["ip", "netns", "exec", FIRST]))
        say_who_is_refused(second)
        worker_log = folder / "worker.log"
        with started(SECOND, ["flows.stack.parts", "worker-cuda"], second, project, worker_log):
            logs = (worker_log, folder / "store" / "logs" / "worker-cpu.log")
            for night in ("from nothing", "again"):
                run_night(night, second | CLIENT, project, logs)
        there = flows_of(worker_log)
        print(f"ran on the second machine: {', '.join(there)}")
        print(f"ran on the first: {', '.join(flows_of(folder / 'store' / 'logs' / 'worker-cpu.log'))}")
        versions = aliases_of(second | CLIENT, project)
        print(f"uplift status there: {json.dumps(versions)}")
    if not set(TRAINS) <= set(there) or "challenger" not in versions:
        raise SystemExit("not all of the training ran on the second machine, or no version is registered")


def write_preset(folder: Path, name: str, changes: list[str]) -> Path:
    """A YAML file of the preset with these changes."""
    from data_contracts.presets import load_preset

    file = folder / "preset.yaml"
    file.write_text(load_preset(name, changes).model_dump_json(), encoding="utf-8")  # JSON is YAML
    return file


@contextmanager
def two_namespaces() -> Iterator[None]:
    """Both machines, each with its own 127.0.0.1, and the cable between them."""
    ends = {FIRST: "uplift-1", SECOND: "uplift-2"}
    try:
        for machine in ends:
            ip("netns", "add", machine)
        ip("link", "add", ends[FIRST], "netns", FIRST, "type", "veth", "peer", "name", ends[SECOND], "netns", SECOND)
        for machine, end in ends.items():
            ip("-n", machine, "address", "add", f"{ADDRESSES[machine]}/24", "dev", end)
            for device in ("lo", end):
                ip("-n", machine, "link", "set", device, "up")
        yield
    finally:
        for machine in ends:
            subprocess.run(["ip", "netns", "delete", machine], check=False, capture_output=True)


def ip(*arguments: str) -> None:
    """The program `ip`."""
    subprocess.run(["ip", *arguments], check=True)


def copy_project(into: Path) -> Path:
    """What a worker needs of the project."""
    for name in ("flows", "tasks", "model", "data_contracts", "presets"):
        shutil.copytree(ROOT / name, into / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "prefect.yaml"):
        shutil.copy(ROOT / name, into / name)
    return into


def on(machine: str, module: list[str]) -> list[str]:
    """The command line that runs a module of Python on a machine."""
    return ["ip", "netns", "exec", machine, sys.executable, "-m", *module]


@contextmanager
def started(
    machine: str, module: list[str], environment: dict[str, str], project: Path, log: Path
) -> Iterator[subprocess.Popen[str]]:
    """A program that is at work while the block lasts."""
    with log.open("w") as output:
        process = subprocess.Popen(
            on(machine, module), cwd=project, env=environment, stdout=output, stderr=subprocess.STDOUT, text=True
        )
    try:
        yield process
        if process.poll() is not None:
            raise SystemExit(f"{' '.join(module)} ended by itself:\n{log.read_text()[-2000:]}")
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


def say_who_is_refused(environment: dict[str, str]) -> None:
    """What the second machine is answered without the password, and at its own 127.0.0.1."""
    urls = [f"{SERVERS['PREFECT_API_URL']}/admin/version", f"{SERVERS['MLFLOW_TRACKING_URI']}/version"]
    for url in (*urls, "http://127.0.0.1:4200/api/health"):
        command = ["ip", "netns", "exec", SECOND, sys.executable, "-c", ASKING, url]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        said = (done.stdout or done.stderr).strip().splitlines()[-1]
        print(f"{url}, without the password: {said}", flush=True)


def run_night(name: str, environment: dict[str, str], project: Path, logs: Sequence[Path]) -> None:
    """The night as it is typed on the second machine, awaited; where it fails, the ends of the workers' logs."""
    began = time.monotonic()
    command = ["prefect", "deployment", "run", "pipeline/nightly", "--param", "train_on=cuda", "--watch"]
    done = subprocess.run(on(SECOND, command), cwd=project, env=environment, capture_output=True, text=True)
    lines = (done.stdout + done.stderr).strip().splitlines()
    print(f"night {name}: {lines[-1] if lines else ''} ({time.monotonic() - began:.0f} s)", flush=True)
    if done.returncode:
        raise SystemExit("\n".join([*lines[-1:], *(log.read_text(errors="replace")[-5000:] for log in logs)]))


def flows_of(log: Path) -> list[str]:
    """Flows that a worker's log tells of, in the order in which they began."""
    begins = r"Beginning (?:sub)?flow run '[^']+' for flow '([^']+)'"
    return list(dict.fromkeys(re.findall(begins, log.read_text(errors="replace"))))


def aliases_of(environment: dict[str, str], project: Path) -> dict[str, str]:
    """Alias -> version, as `uplift status` says on the second machine."""
    command = on(SECOND, ["flows.command_line", "status", "--json"])
    done = subprocess.run(command, cwd=project, env=environment, check=True, capture_output=True, text=True)
    status = json.loads(done.stdout.strip().splitlines()[-1])
    return {alias: found["version"] for alias, found in status["versions"].items()}


if __name__ == "__main__":
    main()
