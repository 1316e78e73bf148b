"""`uplift up`: both servers and the workers of this machine in one terminal, until Ctrl-C.

honcho starts the services of the Procfile and ends all when one ends. The output of a service is in its log file.
"""

import multiprocessing
import os
import re
import shlex
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path

import honcho.manager
import psutil
from honcho.environ import parse_procfile

from data_contracts.errors import InputError
from data_contracts.store.locks import lock_owner, try_lock
from flows.deployment.settings import ENV_FILE, ENV_VARIABLE, POOLS, ROOT, StackSettings
from tasks.maintenance.starts import forget_starts

UP = "UPLIFT_UP"  # process id of `uplift up`, in the environment of all its services
SERVICE = "UPLIFT_SERVICE"  # name of the service, in its environment and that of its children
FLOW_RUN = "flow run"
SECONDS_TO_END = {FLOW_RUN: 30.0, "worker-": 15.0, "": 15.0}  # by the first letters of a service; "" are all services
REPORT_SECONDS = 3.0  # a worker reports the end of a flow run
STOPPED = (130, 143)  # honcho's exit codes after SIGINT and SIGTERM
ERROR_LINE = re.compile(r"^(uplift: |[\w.]*(Error|Exception)\b)")
honcho.manager.KILL_WAIT = 120  # seconds; `Stack.terminate` ends all services sooner


class Stack(honcho.manager.Manager):
    """Services on one store; if one of them fails, the terminal shows the reason and the log file."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.root, self.is_ending = root, False
        self.logs: dict[str, Path] = {}

    def add_process(self, name: str, cmd: str, **options: object) -> object:
        """Add a service that writes to its log file; registration, which reports to people, writes to the terminal."""
        if name != "register":
            self.logs[name] = log = _new_log(self.root, name)
            cmd += f" >>{shlex.quote(str(log))} 2>&1"
        return super().add_process(name, cmd, **options)

    def terminate(self) -> None:
        """End all services; honcho calls this method on Ctrl-C and when a service has ended."""
        if self.is_ending:
            return
        self.is_ending = True
        if self.returncode not in STOPPED:
            descendants = psutil.Process().children(recursive=True)  # an orphan of the failed service is none of them
            running = {service for process, service in _services(self.root).items() if process in descendants}
            for name in self.logs.keys() - running:
                how = f"ended with exit code {self.returncode}: {_reason(self.logs[name])}"
                print(f"uplift: {name} {how}; log: {self.logs[name]}", flush=True)
        _end_services(self.root)


def up(settings: StackSettings) -> int:
    """Start all services, wait until all have ended, and return an exit code. A store allows one stack at a time."""
    root = settings.root
    root.mkdir(parents=True, exist_ok=True)
    lock = root / ".up.lock"
    with try_lock(lock, with_note=True) as is_free:
        running = list(_services(root))
        if running or not is_free:
            pids = " ".join(str(process.pid) for process in running)
            stop = (
                f"Stop it with: kill {running[0].environ()[UP]}" if running else f"{lock} is held by {lock_owner(lock)}"
            )
            raise InputError(f"{root}: a stack already runs on this store (processes {pids or 'unknown'}). {stop}")
        _refuse_used_ports(settings)
        settings.make_password()
        environment = {**os.environ, "UPLIFT_STORE": str(root), ENV_VARIABLE: str(ENV_FILE), UP: str(os.getpid())}
        for name in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI"):  # they may name other servers
            environment.pop(name, None)
        environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        forget_starts(root)  # the person who starts the stack knows why it ended
        stack = Stack(root)
        for name, command in parse_procfile(Path(__file__).with_name("Procfile").read_text()).processes.items():
            pool = name.removeprefix("worker-")
            if pool not in POOLS or pool in settings.workers.split():
                stack.add_process(name, command, env=environment | {SERVICE: name}, cwd=str(ROOT))
        multiprocessing.Process(target=_end_services_after, args=(root, os.getpid()), daemon=True).start()
        stack.loop()
    return 0 if stack.returncode in STOPPED else 1


def _services(root: Path) -> dict[psutil.Process, str]:
    """Return all processes of stacks that were started on this store, and the service of each, or `FLOW_RUN`."""
    found = {}
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            variables = process.environ()
            if UP in variables and variables.get("UPLIFT_STORE") == str(root):
                found[process] = FLOW_RUN if "PREFECT__FLOW_RUN_ID" in variables else variables.get(SERVICE, "")
    return found


def _end_services(root: Path) -> None:
    """End flow runs, then workers, then servers, so that worker and server record the end of a flow run."""
    for kind, seconds in SECONDS_TO_END.items():
        processes = [process for process, service in _services(root).items() if service.startswith(kind)]
        for process in processes:
            with suppress(psutil.Error):
                process.terminate()
        for process in psutil.wait_procs(processes, timeout=seconds)[1]:
            with suppress(psutil.Error):
                process.kill()
        if processes and kind == FLOW_RUN:
            time.sleep(REPORT_SECONDS)


def _end_services_after(root: Path, up: int) -> None:
    """End all services when their parent process `uplift up` was killed."""
    os.setsid()  # a signal of the terminal ends the parent only
    while os.getppid() == up:
        time.sleep(0.5)
    _end_services(root)


def _new_log(root: Path, name: str) -> Path:
    """Return an empty log file that only its owner can read; the log of the previous start becomes `.before`."""
    log = root / "logs" / f"{name}.log"
    log.parent.mkdir(mode=0o700, exist_ok=True)
    with suppress(FileNotFoundError):
        log.replace(log.with_name(f"{log.name}.before"))
    log.touch(mode=0o600)
    return log


def _reason(log: Path) -> str:
    """Return the last line of the log that states an error, else its last line."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    errors = [line.removeprefix("uplift: ") for line in lines if ERROR_LINE.match(line)]
    return (errors or lines or ["no output"])[-1][:500]


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
