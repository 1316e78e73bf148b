"""`uplift up` in a store of one's own, a pipeline that takes seconds, and runs of its deployments."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parent.parent
TINY = (
    "synthetic.people=6",
    "synthetic.seconds=1.5",
    "convert.views=1",
    "ingest.min_frames=10",
    "pretrain.network.embed_dim=16",
    "pretrain.network.fusion_depth=1",
    "pretrain.max_epochs=1",
    "baselines.mlp.minutes=0.02",
    "evaluate.robustness_windows=0",
)
# of a server, whose refused transactions are logged, to be counted: what is answered 503 is asked again, unsaid
COUNTED = {"PREFECT_SERVER_LOG_RETRYABLE_ERRORS": "true"}
FINAL = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


class StackEnded(SystemExit):
    """It ended by itself, or never began."""


class Servers(NamedTuple):
    """Addresses of both, the store, and the process that is `uplift up`."""

    prefect: str
    mlflow: str
    store: Path
    process: subprocess.Popen[str]

    @property
    def api(self) -> str:
        """Of Prefect."""
        return f"{self.prefect}/api"

    @property
    def logs(self) -> Path:
        """Folder of a log for each part."""
        return self.store / "logs"


@contextmanager
def stack(folder: Path, told: dict[str, str] | None = None) -> Iterator[Servers]:
    """`uplift up` on free ports, in that folder's `store`, told some more variables; all of it ends with the block.

    Raises
    ------
    StackEnded
        It did not start, or ended before the block.
    """
    prefect, mlflow = free_ports(2)
    store = folder / "store"
    environment = os.environ | {
        "PREFECT_HOME": str(folder / "home"),
        "UPLIFT_STORE": str(store),
        "UPLIFT_PREFECT_PORT": str(prefect),
        "UPLIFT_MLFLOW_PORT": str(mlflow),
        **(told or {}),
    }
    with uplift_up(environment, folder / "terminal") as process:
        yield Servers(f"http://127.0.0.1:{prefect}", f"http://127.0.0.1:{mlflow}", store, process)


@contextmanager
def uplift_up(
    environment: dict[str, str], terminal: Path, before: Sequence[str] = ()
) -> Iterator[subprocess.Popen[str]]:
    """The command, once it is ready, with what it says in a file; Ctrl-C ends it with the block.

    Parameters
    ----------
    before
        What the command line begins with, to run it somewhere else.

    Raises
    ------
    StackEnded
        As `stack` says.
    """
    command = [*before, sys.executable, "-m", "flows.command_line", "up"]
    with terminal.open("w") as file:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=file, stderr=file, text=True)
    try:
        while "Ctrl-C here" not in terminal.read_text():
            if process.poll() is not None:
                raise StackEnded(f"the stack did not start: {terminal.read_text()[-2000:]}")
            time.sleep(0.5)
        yield process
        if process.poll() is not None:
            raise StackEnded(f"the stack ended by itself: {terminal.read_text()[-500:]}")
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        process.wait()


def tiny(*changes: str) -> Any:
    """Parameters of a pipeline that takes seconds."""
    from data_contracts.presets import load_preset

    return load_preset(str(ROOT / "benchmarks/small.yaml"), [*TINY, *changes])


def sent(parameters: Any) -> dict[str, Any]:
    """Return parameters as a deployment takes them: `preset` and `overrides`."""
    from data_contracts.presets import preset_and_overrides

    return preset_and_overrides(parameters)


def start_run(api: str, deployment: str, parameters: dict[str, Any]) -> str:
    """A run of a deployment (`pipeline/here`); its id."""
    found = ask(f"{api}/deployments/name/{deployment}")["id"]
    return str(ask(f"{api}/deployments/{found}/create_flow_run", {"parameters": parameters})["id"])


def until_ended(api: str, runs: Sequence[str], pause: float = 5) -> Iterator[str]:
    """The state that each ended in, as they end."""
    waits = set(runs)
    while waits:
        time.sleep(pause)
        for run in sorted(waits):
            state = ask(f"{api}/flow_runs/{run}")["state"]["type"]
            if state in FINAL:
                waits.remove(run)
                yield state


def ask(url: str, body: dict[str, Any] | None = None) -> Any:
    """JSON that a server answers with; a POST where there is a body. After 503 it is asked again, as clients do."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    for attempt in range(8):
        try:
            with urllib.request.urlopen(request, timeout=120) as reply:
                return json.load(reply)
        except urllib.error.HTTPError as error:
            if error.code != 503:
                raise
            time.sleep(2**attempt)
    raise SystemExit(f"{url}: 503, eight times in a row")


def free_ports(count: int) -> list[int]:
    """Ports that nobody has."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
