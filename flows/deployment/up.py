"""`uplift up`: both servers and the workers of this machine in one terminal, until Ctrl-C.

honcho starts one launcher per line of the Procfile, and ends all launchers when one ends. Services write log files.
"""

import os
import socket
import sys
from contextlib import suppress
from pathlib import Path

import honcho.manager
import psutil
from honcho.environ import parse_procfile

from data_contracts.errors import InputError
from data_contracts.store.locks import lock_owner, try_lock
from flows.deployment.launcher import UP
from flows.deployment.settings import POOLS, ROOT, StackSettings

STOPPED = (130, 143)  # honcho's exit codes after SIGINT and SIGTERM
honcho.manager.KILL_WAIT = 120  # seconds; launchers need up to 80 to end flow runs, workers and servers in this order


def up(settings: StackSettings) -> int:
    """Start all services, wait until all have ended, and return an exit code. A store allows one stack at a time."""
    root = settings.root
    root.mkdir(parents=True, exist_ok=True)
    lock = root / ".up.lock"
    with try_lock(lock, with_note=True) as is_free:
        running = _services(root)
        if running or not is_free:
            pids = " ".join(str(process.pid) for process in running)
            stop = (
                f"Stop it with: kill {running[0].environ()[UP]}" if running else f"{lock} is held by {lock_owner(lock)}"
            )
            raise InputError(f"{root}: a stack already runs on this store (processes {pids or 'unknown'}). {stop}")
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
