"""`uplift up`: run both servers and the workers of this machine in one terminal, until Ctrl-C.

honcho starts the services, shows their output, and ends all services when one of them ends.
"""

import multiprocessing
import os
import shlex
import signal
import socket
import sys
import time
from contextlib import suppress

import honcho.manager
import psutil

from data_contracts.errors import InputError
from data_contracts.store.locks import lock_owner, try_lock
from flows.deployment.settings import ENV_FILE, ENV_VARIABLE, ROOT, StackSettings
from tasks.maintenance.starts import forget_starts

UP = "UPLIFT_UP"  # process id of `uplift up`, in the environment of its services
FLOW_RUN = "PREFECT__FLOW_RUN_ID"  # in the environment of a flow run
STOPPED = (130, 143)  # honcho's exit codes after SIGINT and SIGTERM
honcho.manager.KILL_WAIT = 60  # seconds until honcho kills a service that has not ended


class Stack(honcho.manager.Manager):
    """Services that end after the flow runs on their store, so that worker and server record how a run ended."""

    def terminate(self) -> None:
        """End flow runs, then all services; honcho calls this method on Ctrl-C and when a service has ended."""
        _end(_processes(os.environ["UPLIFT_STORE"], FLOW_RUN))
        super().terminate()


def up(settings: StackSettings) -> int:
    """Start all services, wait until all have ended, and return an exit code: 0 after a signal, 1 after a failure.

    An InputError is raised if a stack runs on this store already, or if a port is in use.
    """
    settings.make_password()
    with try_lock(lock := settings.store / ".up.lock", with_note=True) as is_free:
        if running := _processes(str(settings.store), UP):
            raise InputError(f"{settings.store}: a stack runs on this store already, {_how_to_end(running)}")
        if not is_free:
            raise InputError(f"{settings.store}: a stack runs on this store already ({lock_owner(lock)}): end it first")
        _refuse_used_ports(settings)
        forget_starts(settings.store)  # the person who starts the stack knows why it ended
        os.environ |= {"UPLIFT_STORE": str(settings.store), ENV_VARIABLE: str(ENV_FILE)}
        for name in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI"):  # they may name other servers
            os.environ.pop(name, None)
        multiprocessing.Process(target=_end_services_after, args=(os.getpid(),), daemon=True).start()
        stack, options = Stack(), {"env": {**os.environ, UP: str(os.getpid())}, "cwd": str(ROOT)}
        python = f"{shlex.quote(sys.executable)} -m"
        stack.add_process("register", f"{python} flows.cli register && exec sleep infinity", **options)
        for name in ("prefect", "mlflow", *(f"worker-{pool}" for pool in settings.workers.split())):
            command = f"{python} flows.deployment.services {name}; kill 0"  # ends child processes that are left
            stack.add_process(name, command, **options)
        signal.signal(signal.SIGHUP, _end_without_terminal)
        stack.loop()
    return 0 if stack.returncode in STOPPED else 1


def _processes(store: str, variable: str) -> list[psutil.Process]:
    """Return the processes with this environment variable of all stacks on the store, also of killed stacks."""
    return [
        process
        for process in psutil.process_iter(["environ"])
        if variable in (variables := process.info["environ"] or {}) and variables.get("UPLIFT_STORE") == store
    ]


def _how_to_end(running: list[psutil.Process]) -> str:
    """Return the process ids of a stack and the command that ends it, also if its `uplift up` was killed."""
    pids = [process.pid for process in running]
    up = int(running[0].info["environ"][UP])
    is_alive = up in [parent.pid for parent in running[0].parents()]
    return f"processes {' '.join(map(str, pids))}; end it with: kill {' '.join(map(str, [up] if is_alive else pids))}"


def _refuse_used_ports(settings: StackSettings) -> None:
    for server, port in (("PREFECT", settings.prefect_port), ("MLFLOW", settings.mlflow_port)):
        try:
            socket.create_server((settings.host, port)).close()
        except OSError as error:
            raise InputError(f"server port: {error.strerror}; set UPLIFT_{server}_PORT to another port") from error


def _end(processes: list[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    for process in psutil.wait_procs(processes, timeout=30)[1]:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def _end_services_after(up: int) -> None:
    """Wait until the parent process `uplift up`, whose id is `up`, ends; then end flow runs and services left over."""
    os.setsid()  # a signal of the terminal ends the parent only
    while os.getppid() == up:
        time.sleep(0.5)
    for variable in (FLOW_RUN, UP):
        _end(_processes(os.environ["UPLIFT_STORE"], variable))


def _end_without_terminal(*_: object) -> None:
    """End the stack when its terminal is closed; output to a closed terminal would be an error."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    signal.raise_signal(signal.SIGTERM)
