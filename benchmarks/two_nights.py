"""Starts two nights together on a loaded machine, again and again, with the servers on SQLite.

    python -m benchmarks.two_nights [--times 10] [--load 2] [--database postgresql://USER@HOST/DATABASE]

`uplift up` in a store of its own, on free ports; `--load` processes that only compute keep the cores busy. Each time
two runs of `pipeline/here`, which has no limit as the night has, are created at the same moment, with seeds that nobody
had, so that both train; what trains goes to the cuda pool. Both must complete, and the servers go on. Ends with an
error where one did not; what the servers logged of locked databases and of errors is counted.

    python -m benchmarks.two_nights --background

shows why the servers keep a log: it starts `prefect server start --background` instead, makes it log one line (by a
request that names a flow which is not there), and says what became of the answer and of the server.
"""

import argparse
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
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
FINAL = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


def main() -> None:
    """Run it as described above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--load", type=int, default=2, help="processes that keep the cores busy")
    parser.add_argument("--database", default="", help="PostgreSQL instead of SQLite")
    parser.add_argument("--background", action="store_true", help="what becomes of a server without a log")
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        if options.background:
            in_background(Path(folder))
            return
        with stack(Path(folder), options.database) as servers, busy(options.load):
            failed = nights(servers.api, options.times)
            print(f"  logged: {logged(servers.logs)}")
        if failed:
            raise SystemExit(f"{failed} of {2 * options.times} nights did not complete")


def nights(api: str, times: int) -> int:
    """Two at a time; how many did not complete."""
    from data_contracts.presets import load_preset

    here = ask(f"{api}/deployments/name/pipeline/here")["id"]
    seconds, failed = [], 0
    for number in range(times):
        started = time.monotonic()
        runs = []
        for seed in (2 * number, 2 * number + 1):
            wanted = load_preset(str(ROOT / "benchmarks/small.yaml"), [*TINY, f"pretrain.seed={seed}"])
            given = {"parameters": wanted.model_dump(mode="json"), "train_on": "cuda"}
            runs.append(ask(f"{api}/deployments/{here}/create_flow_run", {"parameters": given})["id"])
        states: dict[str, str] = {}
        while len(states) < len(runs):
            time.sleep(2)
            for run in set(runs) - set(states):
                state = ask(f"{api}/flow_runs/{run}")["state"]
                if state["type"] in FINAL:
                    states[run] = state["type"]
                    seconds.append(time.monotonic() - started)
        failed += sum(state != "COMPLETED" for state in states.values())
        load = os.getloadavg()[0]
        print(f"  {number + 1}: {' '.join(states.values())} after {seconds[-1]:.0f} s, load {load:.1f}", flush=True)
    print(f"{2 * times - failed} of {2 * times} nights completed, in {statistics.median(seconds):.0f} s at the median")
    return failed


class Servers(NamedTuple):
    """Addresses of both, and the folder of their logs."""

    prefect: str
    mlflow: str
    logs: Path

    @property
    def api(self) -> str:
        """Of Prefect."""
        return f"{self.prefect}/api"


@contextmanager
def stack(folder: Path, database: str) -> Iterator[Servers]:
    """`uplift up` on the store of that folder; all of it ends with the block."""
    ports = free_ports(2)
    environment = os.environ | {
        "PREFECT_HOME": str(folder / "home"),
        "UPLIFT_STORE": str(folder / "store"),
        "UPLIFT_PREFECT_PORT": str(ports[0]),
        "UPLIFT_MLFLOW_PORT": str(ports[1]),
        "UPLIFT_DATABASE_URL": database,
        "PREFECT_SERVER_LOG_RETRYABLE_ERRORS": "true",  # to count them: what is answered 503 is asked again, unsaid
    }
    command = [sys.executable, "-m", "flows.command_line", "up"]
    shown = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    assert shown.stdout is not None
    try:
        for line in shown.stdout:
            if line.startswith("Ctrl-C"):
                break
        if shown.poll() is not None:
            raise SystemExit("the stack did not start")
        yield Servers(*(f"http://127.0.0.1:{port}" for port in ports), logs=folder / "store" / "logs")
        if shown.poll() is not None:
            raise SystemExit("the stack ended by itself")
    finally:
        shown.send_signal(signal.SIGINT)
        shown.communicate()


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """So many processes that only compute."""
    started = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


def logged(logs: Path) -> dict[str, int]:
    """How often the servers wrote what tells of trouble."""
    text = "".join((logs / name).read_text(errors="replace") for name in ("prefect.log", "mlflow.log"))
    return {what: text.count(what) for what in ("database is locked", "Traceback", '" 500', '" 503')}


def in_background(folder: Path) -> None:
    """A server without a log, and the first line that it would write."""
    (port,) = free_ports(1)
    api, environment = f"http://127.0.0.1:{port}/api", os.environ | {"PREFECT_HOME": str(folder)}
    environment["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"
    command = [sys.executable, "-m", "prefect", "server", "start", "--background", "--port", str(port)]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    while not healthy(api):
        time.sleep(1)
    print("a server in the background answers")
    try:
        ask(f"{api}/flow_runs/", {"flow_id": "00000000-0000-4000-8000-000000000000"})
    except urllib.error.HTTPError as error:
        print(f"a request for a flow that is not there: HTTP {error.code}")
    time.sleep(5)
    print(f"five seconds later it is {'there' if healthy(api) else 'gone'}")
    with suppress(ProcessLookupError):
        os.kill(int((folder / "server.pid").read_text()), signal.SIGTERM)


def healthy(api: str) -> bool:
    """Whether a server answers."""
    with suppress(OSError):
        return bool(ask(f"{api}/health"))
    return False


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


if __name__ == "__main__":
    main()
