"""Workers of the convert stage that a test kills."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def killing(store: Path, pids: Callable[[], list[int]], first_part: bool = True) -> Iterator[list[int]]:
    """Kill one of `pids` after the first part is written, or else both of two before; yield the killed ones.

    Python's process pool can fail in other ways if a process is killed while the pool starts another one.
    """
    killed: list[int] = []
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.005):
            if first_part and not list(store.glob("windows/.*.partial/*/part-*.parquet")):
                continue
            running = [pid for pid in pids() if pid not in killed]
            for pid in running if first_part or len(running) == 2 else []:
                with suppress(ProcessLookupError):  # it may have ended by itself since
                    os.kill(pid, signal.SIGKILL)
                killed.append(pid)
                if first_part:
                    return

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield killed
    finally:
        ended.set()
        thread.join()


def pool_pids() -> list[int]:
    return [process.pid for process in multiprocessing.active_children() if process.pid]


@contextmanager
def dask_cluster(folder: Path, workers: int) -> Iterator[tuple[str, list[int]]]:
    """Start a scheduler and workers on loopback; yield its address and the process ids of the workers."""
    file = folder / "scheduler.json"
    base = [sys.executable, "-m", "dask"]
    here = ["--host", "127.0.0.1", "--no-dashboard", "--scheduler-file", str(file)]
    options = {"cwd": folder, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    running = [subprocess.Popen([*base, "scheduler", "--port", "0", *here], **options)]
    try:
        running += [
            subprocess.Popen([*base, "worker", "--nthreads", "1", "--no-nanny", *here], **options)
            for _ in range(workers)
        ]
        while not file.is_file() or not file.read_text():
            assert running[0].poll() is None, "the scheduler ended"
            time.sleep(0.05)
        yield json.loads(file.read_text())["address"], [worker.pid for worker in running[1:]]
    finally:
        for process in running:
            process.kill()
            process.wait()
