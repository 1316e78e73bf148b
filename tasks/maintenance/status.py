"""Status of a store: its last pipeline runs, the versions with an alias, work in progress, and disk usage.

A request to MLflow or Prefect that fails becomes a line of `errors`.
"""

import json
import os
import shlex
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from shutil import disk_usage
from time import time
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion

from data_contracts.errors import InputError
from data_contracts.report import METRICS
from data_contracts.store.digests import KINDS, PIPELINE
from data_contracts.store.folders import default_store
from data_contracts.store.locks import lock_owner
from tasks.maintenance.files import LOCK, hidden_names, size_of
from tasks.maintenance.starts import restarted
from tasks.promotion.comparison import named_benchmark
from tasks.tracking import names
from tasks.tracking.connection import mlflow_errors, tracking_client
from tasks.tracking.registry import model_versions, version_scores

MLFLOW_SECONDS, PREFECT_SECONDS = 3, 2.0  # longest wait for an answer of a server
LOW_DISK = 5_000_000_000  # free bytes
_RUNNING_LIMIT = 20
_WAITING = ("Paused", "Suspended")  # names of Prefect's states
_FLOW_STATES = ("RUNNING", "PENDING", "PAUSED", "CANCELLING")


@dataclass(frozen=True)
class RunStatus:
    """An MLflow run of a stage or pipeline.

    `seconds`: duration, so far if the run has not ended. `version` and `promotion`: registered version of a pipeline
    run, and the decision about it. `lock_owner`: process that holds the lock of the run, or None.
    `source`: paths of the motion of a pipeline run.
    """

    stage: str
    name: str
    state: str
    began: float
    seconds: float
    mpjpe_mm: float | None
    version: str | None
    promotion: str | None
    run_id: str
    lock_owner: str | None
    source: list[str]


@dataclass
class Status:
    """Status of a store. `versions`: alias -> number and scores; `locks`: lock file -> process that holds it.

    `flow_runs`: None if Prefect does not answer. `errors`: failed requests to MLflow or Prefect. `to_do`: what waits
    for a person, with the remedy.
    """

    store: str
    pipeline_runs: list[RunStatus] = field(default_factory=list)
    versions: dict[str, dict[str, Any]] = field(default_factory=dict)
    benchmark: str | None = None
    running: list[RunStatus] = field(default_factory=list)
    flow_runs: list[dict[str, str | None]] | None = None
    locks: dict[str, str] = field(default_factory=dict)
    disk: dict[str, dict[str, int]] = field(default_factory=dict)
    free_bytes: int = 0
    errors: list[str] = field(default_factory=list)
    to_do: list[str] = field(default_factory=list)


def read_status(store: Path, last: int = 5) -> Status:
    """Return the status with the newest `last` pipeline runs; the store, MLflow and Prefect are not changed."""
    if not store.is_dir():
        raise InputError(f"{store}: the store does not exist; pass --store")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(MLFLOW_SECONDS))
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    status = Status(str(store), free_bytes=disk_usage(store).free, disk=_disk(store))
    locks = [*hidden_names(store, LOCK), *sorted(store.glob(".*.lock"))]
    status.locks = {str(path.relative_to(store)): owner for path in locks if (owner := lock_owner(path))}
    try:
        _read_mlflow(status, store, last)
    except InputError as error:
        status.errors.append(str(error))
    try:
        status.flow_runs = running_flow_runs()
    except InputError as error:
        status.errors.append(str(error))
    status.to_do = list(to_do(status))
    return status


def to_do(status: Status) -> Iterator[str]:
    """Yield a line with the remedy for each thing that waits for a person."""
    store = "" if Path(status.store) == default_store() else f" --store {shlex.quote(status.store)}"
    for run in status.pipeline_runs[:1]:
        if run.state in ("FAILED", "KILLED"):
            yield f"pipeline run {run.name} failed: repeat its command or deployment, which continues from the store"
    for run in status.running:
        if run.lock_owner is None:
            yield f"{run.name} has no process on this machine: if no other machine runs it, repeat its command"
    for flow in status.flow_runs or []:
        if flow["state"] in _WAITING:
            yield f"flow run {flow['name']} of {flow['flow']} waits for approval: resume it in the Prefect UI"
    challenger, champion = (status.versions.get(alias) for alias in (names.CHALLENGER, names.CHAMPION))
    if challenger and not challenger["promotion"] and (not champion or champion["version"] != challenger["version"]):
        yield f"version {challenger['version']} was not compared with the champion: uplift promote{store}"
    yield from _changed_sources(status.pipeline_runs)
    for service, starts in restarted(Path(status.store)).items():
        times = f"{len(starts)} starts in 24 hours, the last at {starts[-1]} UTC"
        yield f"service {service} restarted ({times}): find the reason with `docker compose logs {service}`"
    if status.free_bytes < LOW_DISK:
        yield f"the disk of {status.store} is nearly full: uplift gc --keep-last 14 --yes{store}"


def _changed_sources(runs: list[RunStatus]) -> Iterator[str]:
    """Yield a line for each source on this machine that changed after its newest pipeline run began."""
    newest: dict[str, RunStatus] = {}
    for run in runs:
        for path in run.source:
            newest.setdefault(path, run)
    for path, run in newest.items():
        if _last_change(Path(path)) > run.began:
            yield f"{path} changed after pipeline run {run.name} began: start another pipeline run to train on it"


def _last_change(path: Path) -> float:
    """Return the newest time of change of a file, or of a folder and its contents; 0 if the path does not exist."""
    times = [0.0]
    for entry in (path, *path.rglob("*")):
        with suppress(OSError):  # absent, or deleted in the meantime
            times.append(entry.lstat().st_ctime)  # unlike the time of writing, it is new for a copied file
    return max(times)


def running_flow_runs(limit: int = 20) -> list[dict[str, str | None]]:
    """Return `flow`, `name`, `state` and `since` (ISO 8601) of flow runs that run or wait, the newest first."""
    import httpx
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter
    from prefect.client.schemas.sorting import FlowRunSort
    from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, get_current_settings, temporary_settings

    url = get_current_settings().api.url
    if not url:
        raise InputError("Prefect: PREFECT_API_URL is not set; run uplift env and set its variables")
    active = FlowRunFilter.model_validate({"state": {"type": {"any_": _FLOW_STATES}}})
    try:
        with (
            temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}),
            get_client(httpx_settings={"timeout": PREFECT_SECONDS}, sync_client=True) as client,
        ):
            runs = client.read_flow_runs(flow_run_filter=active, sort=FlowRunSort.START_TIME_DESC, limit=limit)
            flows = {flow_id: client.read_flow(flow_id).name for flow_id in {run.flow_id for run in runs}}
    except (httpx.HTTPError, httpx.InvalidURL, RuntimeError, ValueError) as error:
        raise InputError(
            f"Prefect: {url} does not answer ({error!r:.200}); start it or correct PREFECT_API_URL"
        ) from error
    return [
        {
            "flow": flows[run.flow_id],
            "name": run.name,
            "state": run.state_name,
            "since": run.start_time.isoformat() if run.start_time else None,
        }
        for run in runs
    ]


def _read_mlflow(status: Status, store: Path, last: int) -> None:
    client = tracking_client(store)
    with mlflow_errors():
        versions = {str(version.version): version for version in model_versions(client)}
        aliases = {alias: version for version in versions.values() for alias in version.aliases}
        order = [names.CHAMPION, names.CHALLENGER, names.PREVIOUS]
        for alias in sorted(aliases, key=lambda alias: order.index(alias) if alias in order else len(order)):
            version = aliases[alias]
            found = version_scores(client, version)
            scores = {name: found[f"test/{name}"] for name in METRICS if f"test/{name}" in found}
            number, promotion = str(version.version), version.tags.get(names.DECISION_TAG)
            status.versions[alias] = {"version": number, "scores": scores, "promotion": promotion}
        status.benchmark = named_benchmark(client)
        if (store / names.ID_FILE).is_file():
            runs = _runs(client, store, f"tags.`{names.STAGE_TAG}` = '{PIPELINE}'", last)
            status.pipeline_runs = [_run_status(store, run, versions) for run in runs]
            running = _runs(client, store, "attributes.status = 'RUNNING'", _RUNNING_LIMIT)
            status.running = [_run_status(store, run, versions) for run in running]


def _runs(client: MlflowClient, store: Path, condition: str, limit: int) -> list[Run]:
    experiment = client.get_experiment_by_name(names.EXPERIMENT)
    if experiment is None:
        return []
    own = f"{condition} and tags.`{names.STORE_TAG}` = '{names.store_id(store)}'"
    order = [f"tags.`{names.SEQUENCE_TAG}` DESC", "start_time DESC"]
    return list(client.search_runs([experiment.experiment_id], own, max_results=limit, order_by=order))


def _run_status(store: Path, run: Run, versions: dict[str, ModelVersion]) -> RunStatus:
    info, tags = run.info, run.data.tags
    stage, version, began = tags.get(names.STAGE_TAG, ""), tags.get(names.VERSION_TAG), info.start_time / 1000
    of_stage = store / KINDS.get(stage, stage) / f".{tags.get(names.DIGEST_TAG, '')}{LOCK}"
    return RunStatus(
        stage=stage,
        name=info.run_name or "",
        state=info.status,
        began=began,
        seconds=round((info.end_time / 1000 if info.end_time else time()) - began, 1),
        mpjpe_mm=run.data.metrics.get("test/mpjpe_mm"),
        version=version,
        promotion=versions[version].tags.get(names.DECISION_TAG) if version in versions else None,
        run_id=info.run_id,
        lock_owner=lock_owner(names.owner_lock(store, info.run_id) if stage == PIPELINE else of_stage),
        source=_source(tags.get(names.SOURCES_TAG, "")),
    )


def _source(tag: str) -> list[str]:
    """Return the paths in a tag; none if the tag is absent or was changed by hand."""
    with suppress(ValueError):
        paths = json.loads(tag)
        return [path for path in paths if isinstance(path, str)] if isinstance(paths, list) else []
    return []


def _disk(store: Path) -> dict[str, dict[str, int]]:
    """Return the number of finished folders and the bytes of each kind; any other folder or file counts as one."""
    disk: dict[str, dict[str, int]] = {}
    for place in sorted(store.glob("[!.]*")):
        count = len(list(place.glob("[!.]*"))) if place.name in KINDS.values() else 1
        disk[place.name] = {"count": count, "bytes": size_of(place)}
    return disk
