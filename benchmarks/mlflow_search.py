"""Seconds of the search behind MLflow's table of runs: its server as it is, and as `uplift up` starts it.

    python -m benchmarks.mlflow_search [--runs 1000] [--rounds 10] [--folder DIR]

Each server has the same SQLite file, filled as `benchmarks.status` does, and is asked for the last hundred runs: alone,
and, as the page does, with a search for fifty at the same time. The servers are asked in turn, so that what else is at
work disturbs both alike. `tasks/mlflow_runs/server.py` says what is different.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from benchmarks.stack import ask, free_ports
from benchmarks.status import fill
from flows.stack.parts import MLFLOW_APP, answers

SERVERS = {"as it is": [], "as `uplift up` starts it": ["--app-name", MLFLOW_APP]}
TOGETHER = {"alone": (100,), "with another": (100, 50)}


def main() -> None:
    """Run the benchmark as described above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--folder", type=Path, help="keeps the store; one that is there is taken")
    options = parser.parse_args()
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    seconds: dict[tuple[str, str], list[float]] = defaultdict(list)
    with TemporaryDirectory() as temporary, ExitStack() as servers:
        store = (options.folder or Path(temporary)).resolve() / "store"
        if not store.exists():
            fill(store, options.runs)
        urls = {name: servers.enter_context(server(store, more)) for name, more in SERVERS.items()}
        for url in urls.values():
            search(url, (100, 50))
        for _ in range(options.rounds):
            for how, counts in TOGETHER.items():
                for name, url in urls.items():
                    seconds[how, name].append(search(url, counts))
    for how in TOGETHER:
        first, second = (median(seconds[how, name]) for name in SERVERS)
        print(f"{how:12}: {first:.2f} s as it is, {second:.2f} s as `uplift up` starts it: {second / first:.2f}")
    print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


@contextmanager
def server(store: Path, more: list[str]) -> Iterator[str]:
    """An MLflow server of that store; its address."""
    (port,), home = free_ports(1), f"{store}/mlartifacts"
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{store}/mlflow.db", "--artifacts-destination", home, *more]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "start_new_session": True}
    environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    process = subprocess.Popen(command, env=environment, **quiet)
    try:
        while not answers(f"http://127.0.0.1:{port}/health"):
            if process.poll() is not None:
                raise SystemExit(f"it did not start: {' '.join(command)}")
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def search(url: str, counts: tuple[int, ...]) -> float:
    """Seconds until the first of these searches, which are asked at once, is answered."""

    def one(count: int) -> float:
        wanted = {"experiment_ids": ["1"], "max_results": count, "order_by": ["attributes.start_time DESC"]}
        began = time.perf_counter()
        found = ask(f"{url}/api/2.0/mlflow/runs/search", wanted)["runs"]
        if len(found) != count:
            raise SystemExit(f"{len(found)} runs of {count}: {json.dumps(found)[:200]}")
        return time.perf_counter() - began

    with ThreadPoolExecutor(len(counts)) as threads:
        return next(threads.map(one, counts))


if __name__ == "__main__":
    main()
