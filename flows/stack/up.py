"""All of it in one terminal: both servers and the workers of this machine, until Ctrl-C.

honcho starts what the Procfile names and ends all when one ends; one that is killed is started again (`restarting`).
What it says is here, what the parts say is in a log each below the store. Notable decisions:
- a mark in the environment finds every process of ours again, wherever it was left: the worker's flow runs are no
  children of its group, and a server's processes may outlive it;
- flow runs end first, while there is a worker that sees it and a server to tell: training writes its `last` checkpoint,
  the night is marked crashed; then workers and servers; what is left after that is killed.
"""

import os
import signal
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import honcho.manager
import psutil
from honcho.environ import parse_procfile

from data_contracts.errors import InputError
from data_contracts.store.locks import holder, taken
from flows.stack.parts import LOGS, PATIENT, QUIET, answers
from flows.stack.restarting import PART
from flows.stack.settings import POOLS, ROOT, StackSettings, variables

MARK = "UPLIFT_UP"
PATIENCE_SECONDS = 300.0  # until a part answers; a busy machine takes its time
GRACE_SECONDS = 30.0  # for flow runs, to write where they are
TOLD_SECONDS = 5.0  # for workers, to say that a run has ended
honcho.manager.KILL_WAIT = 15  # seconds that a server has


def up(settings: StackSettings) -> int:
    """Start everything, wait for it, register what a night needs; returns an exit code when all has ended.

    Raises
    ------
    InputError
        A port is taken, or this store is up already.
    """
    settings = settings.model_copy(update={"store": str(settings.root)})
    _must_be_free(settings)
    with _alone(settings.root):
        mark = uuid.uuid4().hex
        environment = {**os.environ, **QUIET, **variables(settings), LOGS: str(settings.logs), MARK: mark}
        for name in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI"):  # of other servers
            environment.pop(name, None)
        environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        manager = _Manager(mark)
        for name in parse_procfile((ROOT / "Procfile").read_text()).processes:
            if name.removeprefix("worker-") not in POOLS or name.removeprefix("worker-") in settings.workers.split():
                command = f"exec python -m flows.stack.restarting {name}"  # one that is killed is started again
                manager.add_process(name, command, env=environment, cwd=str(ROOT))
        ready = threading.Thread(target=_make_ready, args=(settings, manager), daemon=True)
        ready.start()
        try:
            manager.loop()
        finally:
            _end(_processes(mark), 0.0)
        return 0 if manager.asked_to_end else 1


class _Manager(honcho.manager.Manager):
    """honcho's, ending who works before who serves."""

    def __init__(self, mark: str) -> None:
        super().__init__()
        self.mark = mark
        self.asked_to_end = self.failed = False

    def terminate(self) -> None:
        """End all: flow runs first, and a moment later, when their workers have told the server, who started them."""
        if self._terminating:
            return
        self.asked_to_end = not self.failed and not self._any_stopped()
        runs = _flow_runs(self.mark)
        _end(runs, GRACE_SECONDS)
        if runs:
            time.sleep(TOLD_SECONDS)
        super().terminate()

    @property
    def goes_on(self) -> bool:
        """Nothing has ended, and nobody asked for the end."""
        return not self._terminating and not self._any_stopped()


def _make_ready(settings: StackSettings, manager: _Manager) -> None:
    """Wait for the servers, register what a night needs, wait for the workers; then say where everything is."""
    os.environ |= settings.client_environment() | QUIET | PATIENT
    try:
        _register(settings, manager)
    except Exception as error:  # whatever it is, the terminal says it and everything ends
        if manager.goes_on:
            manager.failed = True
            _say(f"uplift: {' '.join(str(error).split()) or repr(error)}")
            os.kill(os.getpid(), signal.SIGTERM)


def _register(settings: StackSettings, manager: _Manager) -> None:
    from flows.stack.registering import online_workers, register, wait_until  # Prefect, which takes seconds to import

    def wait(part: str, is_there: Callable[[], bool]) -> None:
        wait_until(part, is_there, PATIENCE_SECONDS, settings.logs / f"{part}.log", lambda: manager.goes_on)

    wait("prefect", lambda: answers(f"{settings.prefect_url}/api/health"))
    register(settings, _say)
    wait("mlflow", lambda: answers(f"{settings.mlflow_url}/health"))
    for pool in settings.workers.split():
        wait(f"worker-{pool}", lambda pool=pool: bool(online_workers(pool)))  # type: ignore[misc]
    _say(
        f"\nPrefect   {settings.prefect_url}\nMLflow    {settings.mlflow_url}\nlogs      {settings.logs}\n\n"
        "In another terminal:\n\n"
        f"    export PREFECT_API_URL={settings.prefect_url}/api MLFLOW_TRACKING_URI={settings.mlflow_url}\n"
        "    .venv/bin/prefect deployment run 'pipeline/nightly' --watch\n\n"
        "Ctrl-C here ends everything.\n"
    )


def _processes(mark: str) -> list[psutil.Process]:
    """Every process that bears the mark."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get(MARK) == mark:
                found.append(process)
    return found


def _flow_runs(mark: str) -> list[psutil.Process]:
    """What the workers have at work, each in a process group of its own."""
    processes = _processes(mark)
    keepers = {process.pid for process in processes if not _part(process)}
    of_workers = [process for process in processes if _part(process).startswith("worker-")]
    workers = {process.pid for process in of_workers if _parent(process) in keepers}
    return [process for process in of_workers if _group(process) not in workers]


def _group(process: psutil.Process) -> int:
    with suppress(ProcessLookupError):
        return os.getpgid(process.pid)
    return 0


def _parent(process: psutil.Process) -> int:
    with suppress(psutil.Error):
        return int(process.ppid())
    return 0


def _part(process: psutil.Process) -> str:
    """Which part a process is of, or was started by; none for who keeps a part."""
    with suppress(psutil.Error):
        return str(process.environ().get(PART, ""))
    return ""


def _end(processes: list[psutil.Process], seconds: float) -> None:
    """Ask them to end, and kill what has not after so long."""
    for process in processes:
        with suppress(psutil.Error):
            process.terminate() if seconds else process.kill()
    _, left = psutil.wait_procs(processes, timeout=seconds or 5)
    for process in left:
        with suppress(psutil.Error):
            process.kill()


def _must_be_free(settings: StackSettings) -> None:
    for variable, port in (("PREFECT", settings.prefect_port), ("MLFLOW", settings.mlflow_port)):
        with socket.socket() as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                tried.bind((settings.host, port))
            except OSError as error:
                raise InputError(
                    f"{settings.host}:{port}: {error.strerror}; UPLIFT_{variable}_PORT names another port"
                ) from error


@contextmanager
def _alone(store: Path) -> Iterator[None]:
    """Refuses to start a store's servers twice."""
    store.mkdir(parents=True, exist_ok=True)
    lock = store / ".up.lock"
    with taken(lock, says_who=True) as is_ours:
        if not is_ours:
            raise InputError(f"{store}: its servers are up already, by {holder(lock) or 'one that just ended'}")
        yield


def _say(text: str) -> None:
    print(text, flush=True)
