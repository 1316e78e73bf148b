"""Registration of work pools, deployments and automations on a Prefect server.

Prefect reads `PREFECT_API_URL` at its import: call `use_servers` before an import of this module.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import FlowFilter, FlowRunFilter
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectAlreadyExists, PrefectHTTPStatusError
from prefect.settings import PREFECT_API_URL
from prefect.workers.process import ProcessWorker

from data_contracts.errors import InputError
from data_contracts.machine import program
from data_contracts.store.digests import PIPELINE
from flows.deployment import automations
from flows.deployment.services import wait_for
from flows.deployment.settings import PASSWORD_FILE, ROOT, USER, StackSettings

CONCURRENT_RUNS = {"cpu": 4, "cuda": 1}  # limits of new pools; a flow run needs 200 MB before it computes anything
PREFECT_YAML = str(Path(__file__).with_name("prefect.yaml"))


@contextmanager
def prefect_client() -> Iterator[SyncPrefectClient]:
    """Open a client of the server at `PREFECT_API_URL`; an error of the connection becomes an InputError."""
    try:
        with get_client(sync_client=True) as client:
            yield client
    except (PrefectHTTPStatusError, httpx.TransportError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"{PREFECT_API_URL.value()}: no access to the Prefect server ({reason}). Start `make up`, or set"
            " PREFECT_API_URL and UPLIFT_API_PASSWORD"
        ) from error


def register(settings: StackSettings) -> None:
    """Wait for Prefect, create or update pools, deployments and automations, and print how to use the stack."""
    wait_for(f"{PREFECT_API_URL.value()}/health")
    with prefect_client() as client:
        template = ProcessWorker.get_default_base_job_template()
        for name, limit in CONCURRENT_RUNS.items():
            with suppress(ObjectAlreadyExists):  # its limit is not changed
                pool = WorkPoolCreate(name=name, type="process", concurrency_limit=limit, base_job_template=template)
                client.create_work_pool(pool)
        command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", PREFECT_YAML]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        if done.returncode:
            output = " ".join((done.stdout + done.stderr).split())[-600:]
            raise InputError(f"`prefect deploy --all` failed; the end of its output is: {output}")
        names = automations.install(client, settings)
    wait_for(f"{os.environ['MLFLOW_TRACKING_URI']}/health")  # see `use_servers`
    from tasks.tracking.links import runs_page  # imports MLflow, which takes seconds

    password = "UPLIFT_API_PASSWORD" if settings.api_password else f"the content of {settings.store / PASSWORD_FILE}"
    print(
        f"registered: pools, all deployments of prefect.yaml, {len(names)} automations\n"
        f"\nPrefect   {settings.prefect_url}, password {USER}:PASSWORD"
        f"\nMLflow    {runs_page(settings.store)}"
        f"\n          user {USER}, password PASSWORD"
        f"\nPASSWORD  {password}\n\nIn another terminal:\n"
        f'\n    eval "$({program("uplift")} env)"'
        f"\n    {program('prefect')} deployment run 'pipeline/nightly' && {program('uplift')} watch"
        "\n\nCtrl-C in the terminal of `make up` ends everything.\n"
    )


def newest_pipeline_run(client: SyncPrefectClient) -> UUID:
    """Return the id of the newest pipeline run that is not scheduled for later; raise an InputError without one."""
    begun = FlowRunFilter.model_validate({"expected_start_time": {"before_": datetime.now(UTC)}})
    pipelines = FlowFilter.model_validate({"name": {"any_": [PIPELINE]}})
    order = FlowRunSort.EXPECTED_START_TIME_DESC
    runs = client.read_flow_runs(flow_filter=pipelines, flow_run_filter=begun, sort=order, limit=1)
    if not runs:
        raise InputError("the Prefect server has no pipeline run; start one: prefect deployment run pipeline/nightly")
    return runs[0].id
