"""Registration of work pools, deployments and automations on a Prefect server.

Prefect reads `PREFECT_API_URL` at its import: call `use_servers` before an import of this module.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import WorkerStatus
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.settings import PREFECT_API_URL
from prefect.workers.process import ProcessWorker

from data_contracts.errors import InputError
from data_contracts.machine import program
from flows.deployment import automations
from flows.deployment.services import answers
from flows.deployment.settings import PASSWORD_FILE, ROOT, USER, StackSettings

CONCURRENT_RUNS = {"cpu": 4, "cuda": 1}  # limits of new pools; a flow run needs 200 MB before it computes anything
PREFECT_YAML = str(Path(__file__).with_name("prefect.yaml"))
WAIT_SECONDS = 300.0


@contextmanager
def prefect_client() -> Iterator[SyncPrefectClient]:
    """Open a client of the server at `PREFECT_API_URL`; raise an InputError if it is down or refuses the password."""
    url = PREFECT_API_URL.value()
    try:
        with get_client(sync_client=True) as client:
            yield client
    except PrefectHTTPStatusError as error:
        if error.response.status_code != 401:
            raise
        raise InputError(
            f"{url} refuses the password: set UPLIFT_API_PASSWORD to the password of the server, or UPLIFT_STORE to its"
            " store"
        ) from error
    except httpx.TransportError as error:
        raise InputError(f"{url} does not answer ({error}): start `make up`, or set PREFECT_API_URL") from error


def register(settings: StackSettings) -> None:
    """Create or update pools, deployments and automations; report each on the terminal."""
    with prefect_client() as client:
        print(f"created pools: {', '.join(make_pools(client)) or 'none, all exist'}", flush=True)
        command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", PREFECT_YAML]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        if done.returncode:
            raise InputError(f"prefect deploy --all failed: {' '.join((done.stdout + done.stderr).split())[-600:]}")
        print("deployments: all of prefect.yaml", flush=True)
        receiver = settings.notify or "nobody (UPLIFT_NOTIFY is empty)"
        print(f"automations: {len(automations.install(client, settings))}, notify {receiver}", flush=True)


def make_pools(client: SyncPrefectClient) -> list[str]:
    """Create missing work pools and return their names; limits of existing pools are not changed."""
    created = []
    for name, limit in CONCURRENT_RUNS.items():
        try:
            client.read_work_pool(name)
        except ObjectNotFound:
            template = ProcessWorker.get_default_base_job_template()
            pool = WorkPoolCreate(name=name, type="process", base_job_template=template, concurrency_limit=limit)
            client.create_work_pool(pool)
            created.append(name)
    return created


def has_worker(client: SyncPrefectClient, pool: str) -> bool:
    """Return whether a worker of the pool sent a heartbeat recently."""
    with suppress(ObjectNotFound):
        return any(worker.status == WorkerStatus.ONLINE for worker in client.read_workers_for_work_pool(pool))
    return False


def _wait_for(service: str, is_ready: Callable[[], bool], settings: StackSettings) -> None:
    until = time.monotonic() + WAIT_SECONDS
    while not is_ready():
        if time.monotonic() > until:
            log = settings.root / "logs" / f"{service}.log"
            raise InputError(f"{service} did not answer within {WAIT_SECONDS:g} s; log: {log}")
        time.sleep(0.5)


def register_when_ready(settings: StackSettings) -> None:
    """Register everything when Prefect answers, wait for the other services, and report how to use them."""
    _wait_for("prefect", lambda: answers(f"{settings.prefect_url}/api/health"), settings)
    register(settings)
    _wait_for("mlflow", lambda: answers(f"{settings.mlflow_url}/health"), settings)
    with prefect_client() as client:
        for pool in settings.workers.split():
            _wait_for(f"worker-{pool}", partial(has_worker, client, pool), settings)
    from tasks.tracking.links import runs_page  # imports MLflow, which takes seconds

    password = "UPLIFT_API_PASSWORD" if settings.api_password else f"the content of {settings.root / PASSWORD_FILE}"
    print(
        f"\nPrefect   {settings.prefect_url}   password {USER}:PASSWORD (one field)"
        f"\nMLflow    {runs_page(settings.root)}"
        f"\n          user {USER}, password PASSWORD"
        f"\n          PASSWORD is {password}\nlogs      {settings.root / 'logs'}\n\nIn another terminal:\n"
        f'\n    eval "$({program("uplift")} env)"'
        f"\n    {program('prefect')} deployment run 'pipeline/nightly' && {program('uplift')} watch"
        "\n\nCtrl-C here ends everything.\n",
        flush=True,
    )
