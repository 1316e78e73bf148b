"""`uplift up`: both servers and the workers of this machine in one terminal, until Ctrl-C.

honcho starts the services, shows their output, and ends all when one ends.
"""

import os
import shlex
import signal
import sys
from contextlib import suppress

import honcho.manager
import psutil

from data_contracts.errors import InputError
from data_contracts.store.locks import lock_owner, try_lock
from flows.deployment.settings import ENV_FILE, ENV_VARIABLE, ROOT, StackSettings

STOPPED = (130, 143)  # honcho's exit codes after SIGINT and SIGTERM
honcho.manager.KILL_WAIT = 60  # seconds until honcho kills a service that has not ended


class Stack(honcho.manager.Manager):
    """Services that end after the flow runs on their store, so that worker and server record how a run ended."""

    def terminate(self) -> None:
        """End flow runs, then all services; honcho calls this method on Ctrl-C and when a service has ended."""
        runs = [
            process
            for process in psutil.process_iter(["environ"])
            if (variables := process.info["environ"]) and "PREFECT__FLOW_RUN_ID" in variables
            if variables.get("UPLIFT_STORE") == os.environ["UPLIFT_STORE"]
        ]
        for run in runs:
            with suppress(psutil.NoSuchProcess):
                run.terminate()
        psutil.wait_procs(runs, timeout=30)  # the worker kills a run that takes longer
        super().terminate()


def up(settings: StackSettings) -> int:
    """Start all services, wait until all have ended, and return an exit code. A store allows one stack at a time."""
    settings.make_password()
    with try_lock(lock := settings.store / ".up.lock", with_note=True) as is_free:
        if not is_free:
            raise InputError(f"{settings.store}: a stack runs on this store already ({lock_owner(lock)}): end it first")
        os.environ |= {"UPLIFT_STORE": str(settings.store), ENV_VARIABLE: str(ENV_FILE)}
        for name in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI"):  # they may name other servers
            os.environ.pop(name, None)
        stack = Stack()
        python = f"{shlex.quote(sys.executable)} -m"
        stack.add_process("register", f"{python} flows.cli register && exec sleep infinity", cwd=str(ROOT))
        for name in ("prefect", "mlflow", *(f"worker-{pool}" for pool in settings.workers.split())):
            command = f"{python} flows.deployment.services {name}; kill 0"  # ends child processes that are left
            stack.add_process(name, command, cwd=str(ROOT))
        signal.signal(signal.SIGHUP, _end_without_terminal)
        stack.loop()
    return 0 if stack.returncode in STOPPED else 1


def _end_without_terminal(*_: object) -> None:
    """End the stack when its terminal is closed; output to a closed terminal would be an error."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    signal.raise_signal(signal.SIGTERM)
