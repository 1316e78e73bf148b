"""What a server must know before a night: pools and their limits, deployments, automations; and whether it is there."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import WorkerStatus
from prefect.exceptions import ObjectNotFound
from prefect.workers.process import ProcessWorker

from data_contracts.errors import InputError
from flows.stack import automations
from flows.stack.settings import ROOT, StackSettings

# runs at a time, of a pool that is made anew: each takes 200 MB before it does anything
AT_ONCE = {"cpu": 4, "cuda": 1}


def register(settings: StackSettings, say: Callable[[str], None]) -> None:
    """Pools, deployments and automations, on the server of `PREFECT_API_URL`. What is there is brought up to date.

    Raises
    ------
    InputError
        A deployment was refused, or who is to be told is not known.
    """
    made = make_pools()
    say(f"pools: {', '.join(AT_ONCE)}" + (f" (made {', '.join(made)})" if made else ""))
    deploy()
    say("deployments: all of prefect.yaml")
    installed = automations.install(settings)
    say(f"automations: {len(installed)}" + ("" if settings.notify else "; nobody is told, as UPLIFT_NOTIFY is empty"))


def make_pools() -> list[str]:
    """Make the pools that are not there; a limit that was changed by hand stays. Returns which were made."""
    made = []
    with get_client(sync_client=True) as client:
        for name, limit in AT_ONCE.items():
            try:
                client.read_work_pool(name)
            except ObjectNotFound:
                template = ProcessWorker.get_default_base_job_template()
                pool = WorkPoolCreate(name=name, type="process", base_job_template=template, concurrency_limit=limit)
                client.create_work_pool(pool)
                made.append(name)
    return made


def deploy() -> None:
    """As `prefect deploy --all`."""
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        said = " ".join((done.stdout + done.stderr).split())
        raise InputError(f"prefect deploy --all: {said[-600:]}")


def online_workers(pool: str) -> list[str]:
    """Names of the workers of a pool that the server heard of lately."""
    with get_client(sync_client=True) as client:
        try:
            workers = client.read_workers_for_work_pool(pool)
        except ObjectNotFound:
            return []
    return [worker.name for worker in workers if worker.status == WorkerStatus.ONLINE]


def wait_until(what: str, is_there: Callable[[], bool], seconds: float, log: Path, goes_on: Callable[[], bool]) -> None:
    """Wait for a part of the stack.

    Raises
    ------
    InputError
        It did not come in time, or nobody waits any more; says where its log is, and how that ends.
    """
    until = time.monotonic() + seconds
    while not is_there():
        if not goes_on() or time.monotonic() > until:
            why = f"did not answer within {seconds:g} s" if goes_on() else "ended"
            raise InputError(f"{what} {why}; {log} ends: {log_end(log)}")
        time.sleep(0.5)


def log_end(log: Path, lines: int = 3) -> str:
    """The last lines of a log, in one."""
    if not log.is_file():
        return "(it is not there)"
    text = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return " | ".join(text[-lines:]) or "(it is empty)"
