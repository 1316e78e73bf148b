"""A part of the stack, as the Procfile and compose.yaml start it: `python -m flows.stack.parts prefect`.

It becomes that part: what is started is told what it needs by the environment, and by nothing else. Notable decisions:
- the Prefect server is never started with `--background`: that leaves its output in a pipe that nobody reads, and the
  first line that it logs ends it (rich answers a broken pipe with SystemExit), with HTTP 500 to whoever was asking;
- leases of concurrency limits are files: in memory, as they are untold, a server that is killed forgets who holds the
  night's slot, and no later night would ever begin;
- clients outlast a server that is busy or started anew: what it answers 503 (in SQLite another one writes) is asked
  again, for nine minutes;
- runs that wait are marked late every 30 s, not 5: that is done for ten at once, which SQLite refuses more often than
  not; a hundred in a queue took a fifth of a core for more than a minute, and 600 errors in the log;
- Prefect's UI is the former one, to which the links that Prefect prints lead anyway; the new one, in its menu, has the
  browser compute 1.2 to 1.8 times as long;
- flow runs, and so all that trains, step back for servers and workers (`flows.stack.priority`).
"""

import argparse
import os
import sys
import time
from base64 import b64encode
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from data_contracts.errors import InputError
from flows.stack.databases import prepare_database
from flows.stack.settings import POOLS, ROOT, StackSettings, read_settings

LOGS = "UPLIFT_LOG_FOLDER"  # where a part writes its log; none: to the terminal
HEARTBEAT_SECONDS = 60  # between two signs of life of a flow run
MLFLOW_APP, GATE = "uplift-mlflow", "uplift-gate"  # entry points `mlflow.app` of pyproject.toml
QUIET = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PYTHONUNBUFFERED": "1",
}
PATIENT = {
    "PREFECT_API_REQUEST_TIMEOUT": "120",
    "PREFECT_CLIENT_MAX_RETRIES": "8",  # 2, 4, 8 ... seconds: nine minutes in all
    "PREFECT_CLIENT_RETRY_JITTER_FACTOR": "0.5",
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_SECONDS),
    "PREFECT_WORKER_QUERY_SECONDS": "5",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "7",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "120",
}


def part_command(name: str, settings: StackSettings) -> tuple[list[str], dict[str, str]]:
    """The command line of a part, and the variables that it adds to the environment.

    Parameters
    ----------
    name
        `prefect`, `mlflow`, or `worker-` and a pool.
    """
    if name == "prefect":
        return _prefect(settings)
    if name == "mlflow":
        return _mlflow(settings)
    pool = name.removeprefix("worker-")
    if pool not in POOLS:
        raise InputError(f"no part {name!r}: prefect, mlflow, {', '.join(f'worker-{pool}' for pool in POOLS)}")
    return [sys.executable, "-m", "prefect", "worker", "start", "--pool", pool, "--type", "process"], {
        **QUIET,
        **PATIENT,
    }


def _prefect(settings: StackSettings) -> tuple[list[str], dict[str, str]]:
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", settings.host]
    variables = settings.prefect_database() | {
        "PREFECT_HOME": str(settings.root / "prefect"),
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
        "PREFECT_SERVER_DATABASE_TIMEOUT": "60",
        "PREFECT_SERVER_DATABASE_CONNECTION_TIMEOUT": "30",
        "PREFECT_SERVER_SERVICES_LATE_RUNS_LOOP_SECONDS": "30",
        "PREFECT_SERVER_UI_V2_ENABLED": "false",
        "PREFECT_UI_URL": settings.prefect_url,  # what notifications link to
        "PREFECT_UI_API_URL": "/api",  # by whatever name a browser came
    }
    if settings.prefect_password:
        variables["PREFECT_SERVER_API_AUTH_STRING"] = settings.prefect_password
    return [*command, "--port", str(settings.prefect_port)], QUIET | variables


def _mlflow(settings: StackSettings) -> tuple[list[str], dict[str, str]]:
    command = [sys.executable, "-m", "mlflow", "server", "--host", settings.host, "--port", str(settings.mlflow_port)]
    command += ["--backend-store-uri", settings.mlflow_database()]
    command += ["--artifacts-destination", settings.artifacts or str(settings.root / "mlartifacts")]
    command += ["--workers", "4" if settings.database_url else "1"]  # of SQLite one process is the writer
    variables = QUIET | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    command += ["--app-name", GATE if settings.api_password else MLFLOW_APP]
    if settings.api_password:
        variables["UPLIFT_API_PASSWORD"] = settings.api_password  # it may stand in `.env` alone
    return command, variables


def answers(url: str, password: str | None = None) -> bool:
    """Whether a server says yes at `url`."""
    request = Request(url)
    if password:
        request.add_header("Authorization", f"Basic {b64encode(password.encode()).decode()}")
    with suppress(OSError, HTTPError), urlopen(request, timeout=10) as reply:
        return bool(reply.status == 200)
    return False


def main() -> None:
    """Become a part: its output goes to its log, and its process is this one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", help="prefect, mlflow, worker-cpu or worker-cuda")
    name = parser.parse_args().part
    settings = _or_exit(read_settings)
    command, variables = _or_exit(lambda: part_command(name, settings))
    if folder := os.environ.get(LOGS):
        _log_to(Path(folder) / f"{name}.log")
    reached = {name: os.environ.get(name) or value for name, value in settings.client_environment().items()}
    if name.startswith("worker-"):
        os.environ |= reached
        _await_pool(f"{reached['PREFECT_API_URL']}/work_pools/{name.removeprefix('worker-')}", reached)
    else:
        for variable in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI", "PREFECT_HOME"):  # a server is nobody's client
            os.environ.pop(variable, None)
        settings.root.mkdir(parents=True, exist_ok=True)
        _or_exit(lambda: prepare_database(settings, name))
        os.environ.pop("MLFLOW_TRACKING_URI", None)  # where MLflow leaves it
    os.chdir(ROOT)
    os.execvpe(command[0], command, {**variables, **os.environ})  # a PREFECT_ or MLFLOW_ variable of the shell wins


Answer = TypeVar("Answer")


def _or_exit(ask: Callable[[], Answer]) -> Answer:
    """The answer, or the end of the process in one line."""
    try:
        return ask()
    except InputError as error:
        sys.exit(f"uplift: {' '.join(str(error).split())}")


def _await_pool(url: str, reached: dict[str, str]) -> None:
    """A worker begins when the server is there and has its pool: registering it gives the pool its limits."""
    while not answers(url, reached.get("PREFECT_API_AUTH_STRING")):
        print(f"waiting for {url}", flush=True)
        time.sleep(2)


def _log_to(file: Path) -> None:
    """Output goes to a new file; that of the time before stays as `.before`."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.exists():
        file.replace(file.with_name(f"{file.name}.before"))
    log = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for stream in (1, 2):
        os.dup2(log, stream)


if __name__ == "__main__":
    main()
