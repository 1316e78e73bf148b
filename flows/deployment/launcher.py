"""Start one service of `uplift up`, and stop it when `uplift up` ends: `python -m flows.deployment.launcher prefect`.

The launcher stops its service on SIGTERM, or when `uplift up` no longer runs (it checks every half second). Flow
runs end first, so that worker and server record their end: the launchers of workers share a lock, and the launchers of
servers wait for this lock.
"""

import fcntl
import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import psutil

UP = "UPLIFT_UP"  # process id of `uplift up`, in the environment of all its services
RUN_SECONDS, REPORT_SECONDS, SERVICE_SECONDS = 30.0, 3.0, 15.0  # to save training, to report the end, to end
ERROR_LINE = re.compile(r"^(uplift: |[\w.]*(Error|Exception)\b)")


def run_service(name: str, command: list[str], log: Path) -> int:
    """Run the command until the command or the stack ends; return its exit code, or 0 if the stack ended."""
    stop, up, is_worker = threading.Event(), psutil.Process(int(os.environ[UP])), name.startswith("worker")
    registers = name == "register"  # its output is for the terminal; the stack goes on when it has ended
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.set())
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with suppress(FileNotFoundError):
        log.replace(log.with_name(f"{log.name}.before"))
    private = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(private, "w") as out, (log.parent / ".workers.lock").open("w") as workers:
        if is_worker:
            fcntl.flock(workers, fcntl.LOCK_SH)
        output = None if registers else out
        service = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
        while service.poll() is None or (registers and service.returncode == 0):
            if stop.wait(0.5) or not _is_alive(up):
                _end(service, None if is_worker else workers.fileno())
                return 0
    if not registers:
        code = service.returncode
        how = f"ended with exit code {code}: {_reason(log)}" if code >= 0 else f"got {signal.Signals(-code).name}"
        print(f"uplift: {name} {how}; log: {log}", flush=True)
    return max(service.returncode, 1)


def _is_alive(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False


def _end(service: "subprocess.Popen[bytes]", workers: int | None) -> None:
    """End a service and its descendants. If the service is a worker (`workers` is None), its flow runs end first."""
    if service.poll() is not None:
        return
    process = psutil.Process(service.pid)
    descendants = process.children(recursive=True)
    if workers is None and descendants:
        _terminate(descendants, RUN_SECONDS)
        time.sleep(REPORT_SECONDS)
    until = time.monotonic() + RUN_SECONDS + REPORT_SECONDS + SERVICE_SECONDS
    while workers is not None and time.monotonic() < until:
        with suppress(BlockingIOError):
            fcntl.flock(workers, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        time.sleep(0.2)
    _terminate([process], SERVICE_SECONDS)
    _terminate([one for one in descendants if one.is_running()], 0)


def _terminate(processes: list[psutil.Process], seconds: float) -> None:
    for process in processes:
        with suppress(psutil.Error):
            process.terminate()
    for left in psutil.wait_procs(processes, timeout=seconds)[1]:
        with suppress(psutil.Error):
            left.kill()


def _reason(log: Path) -> str:
    """Return the last line of the log that states an error, else its last line."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    errors = [line.removeprefix("uplift: ") for line in lines if ERROR_LINE.match(line)]
    return (errors or lines or ["no output"])[-1][:500]


if __name__ == "__main__":
    service = sys.argv[1]
    words = ["flows.cli", "register", "--wait"] if service == "register" else ["flows.deployment.services", service]
    command = [sys.executable, "-m", *words]
    sys.exit(run_service(service, command, Path(os.environ["UPLIFT_STORE"]) / "logs" / f"{service}.log"))
