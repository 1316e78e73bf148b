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
import os
import signal
import statistics
import subprocess
import sys
import time
import urllib.error
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.stack import COUNTED, ask, free_ports, sent, stack, start_run, tiny, until_ended
from flows.stack.parts import answers


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
        told = COUNTED | {"UPLIFT_DATABASE_URL": options.database}
        with stack(Path(folder), told) as servers, busy(options.load):
            failed = nights(servers.api, options.times)
            print(f"  logged: {logged(servers.logs)}")
        if failed:
            raise SystemExit(f"{failed} of {2 * options.times} nights did not complete")


def nights(api: str, times: int) -> int:
    """Two at a time; how many did not complete."""
    seconds: list[float] = []
    failed = 0
    for number in range(times):
        started, runs = time.monotonic(), []
        for seed in (2 * number, 2 * number + 1):
            given = sent(tiny(f"pretrain.seed={seed}")) | {"train_on": "cuda"}
            runs.append(start_run(api, "pipeline/here", given))
        states = []
        for state in until_ended(api, runs, pause=2):
            states.append(state)
            seconds.append(time.monotonic() - started)
        failed += sum(state != "COMPLETED" for state in states)
        load = os.getloadavg()[0]
        print(f"  {number + 1}: {' '.join(states)} after {seconds[-1]:.0f} s, load {load:.1f}", flush=True)
    print(f"{2 * times - failed} of {2 * times} nights completed, in {statistics.median(seconds):.0f} s at the median")
    return failed


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
    while not answers(f"{api}/health"):
        time.sleep(1)
    print("a server in the background answers")
    try:
        ask(f"{api}/flow_runs/", {"flow_id": "00000000-0000-4000-8000-000000000000"})
    except urllib.error.HTTPError as error:
        print(f"a request for a flow that is not there: HTTP {error.code}")
    time.sleep(5)
    print(f"five seconds later it is {'there' if answers(f'{api}/health') else 'gone'}")
    with suppress(ProcessLookupError):
        os.kill(int((folder / "server.pid").read_text()), signal.SIGTERM)


if __name__ == "__main__":
    main()
