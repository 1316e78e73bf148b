"""`uplift up` in a store of its own, a night in it, and what can be killed of it."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from benchmarks.crashes.nights import wanted
from benchmarks.stack import FINAL, ask, sent, stack, start_run

SILENT_MINUTES = 3
DISK_MB = 100


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
        given = sent(wanted()) | {"train_on": "cuda", "promote": "gate"}
        self.night = start_run(self.api, "pipeline/nightly", given)

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
    variables = {
        "UPLIFT_SILENT_MINUTES": str(SILENT_MINUTES),
        "UPLIFT_RESTART_SECONDS": f"{down:g}",
        "OMP_NUM_THREADS": "1",
        **(told or {}),
    }
    try:
        with stack(folder, variables) as servers:
            yield Stack(store, servers.api, servers.mlflow, servers.process, down, hours)
    finally:
        if on_tmpfs:
            subprocess.run(["umount", "--lazy", str(store)], check=True)
