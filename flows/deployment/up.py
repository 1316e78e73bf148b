"""`uplift up`: both servers and the workers of this machine in one terminal, until Ctrl-C.

honcho starts one launcher per line of the Procfile and ends all when one ends; services write to log files.
"""

import os
import socket
import sys
from contextlib import suppress
from pathlib import Path

import honcho.manager
import psutil
from filelock import FileLock, Timeout
from honcho.environ import parse_procfile

from data_contracts.errors import InputError
from flows.deployment.launcher import UP
from flows.deployment.settings import POOLS, ROOT, StackSettings

STOPPED = (130, 143)  # honcho's exit codes after SIGINT and SIGTERM
honcho.manager.KILL_WAIT = 120  # seconds; launchers need up to 80 to end flow runs, workers and servers in this order


def up(settings: StackSettings) -> int:
    """Start all services and wait until they have ended; return an exit code.

    Raises
    ------
    InputError
        A stack runs on this store already, or a port is in use.
    """
    root = settings.root
    root.mkdir(parents=True, exist_ok=True)
    lock = FileLock(root / ".up.lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise InputError(_already_running(root)) from None
    with lock:
        if _services(root):
            raise InputError(_already_running(root))
        _refuse_used_ports(settings)
        settings.make_password()
        environment = {**os.environ, "UPLIFT_STORE": str(root), UP: str(os.getpid())}
        for name in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI"):  # they may name other servers
            environment.pop(name, None)
        environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        manager = honcho.manager.Manager()
        for name, command in parse_procfile((ROOT / "Procfile").read_text()).processes.items():
            pool = name.removeprefix("worker-")
            if pool not in POOLS or pool in settings.workers.split():
                manager.add_process(name, command, env=environment, cwd=str(ROOT))
        manager.loop()
        for process in _services(root):  # of a launcher that was killed
            with suppress(psutil.Error):
                process.kill()
    return 0 if manager.returncode in STOPPED else 1


def _services(root: Path) -> list[psutil.Process]:
    """Return all processes of stacks that were started on this store, flow runs included."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            variables = process.environ()
            if UP in variables and variables.get("UPLIFT_STORE") == str(root):
                found.append(process)
    return found


def _already_running(root: Path) -> str:
    services = _services(root)
    if not services:
        return f"{root}: another `uplift up` holds {root / '.up.lock'}; it is starting, or runs on another machine"
    pids = " ".join(str(process.pid) for process in services)
    parent = services[0].environ()[UP]
    command = parent if psutil.pid_exists(int(parent)) else pids
    return f"{root}: a stack already runs on this store (processes {pids}). Stop it with: kill {command}"


def _refuse_used_ports(settings: StackSettings) -> None:
    for variable, port in (("PREFECT", settings.prefect_port), ("MLFLOW", settings.mlflow_port)):
        with socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET) as attempt:
            attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                attempt.bind((settings.host, port))
            except OSError as error:
                raise InputError(
                    f"{settings.host}:{port}: {error.strerror}; set UPLIFT_{variable}_PORT to another port"
                ) from error
