"""Convert clips to H36M windows in this process, in a pool of processes, or on a Dask cluster.

- A small number of batches is converted in this process, one after the other. The place does not change the files.
- Processes instead of threads: a batch holds the interpreter lock for a third of its time (two fifths with windows of
  243 frames), so threads would use at most three cores.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
from prefect.client.orchestration import get_client
from prefect.futures import as_completed
from prefect.logging import get_run_logger
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.task_runners import ProcessPoolTaskRunner, TaskRunner

from data_contracts.errors import InputError
from data_contracts.machine import usable_cores
from data_contracts.parameters import ConvertParameters, SplitBy, Workers
from data_contracts.report import StageResult
from data_contracts.splits import split_groups
from data_contracts.store import stage_keys
from data_contracts.store.folders import Stage
from data_contracts.store.manifests import read_manifest
from tasks.convert.convert import clip_rates, count_batches, finish_windows, window_bytes, write_windows
from tasks.stage_runs.progress import report_progress
from tasks.stage_runs.tracked_stage import run_stage
from tasks.tracking.runs import TrackedRun

WORTH_A_POOL = 2 << 30  # bytes of windows; below this, starting processes takes longer than they save
ATTEMPTS = 2  # at a batch if its worker dies


def convert_clips(
    store: Path, clips: Path, parameters: ConvertParameters, workers: Workers, parent_run: str | None = None
) -> StageResult:
    """Convert all clips of a clip store to windows, and split the windows by group.

    Parameters
    ----------
    store
        Root folder of the store.
    clips
        Folder of an ingest stage.
    parameters
        Parameters of the convert stage.
    workers
        Processes or Dask cluster that convert batches of clips. The workers of a Dask cluster must reach the store and
        the Prefect server, and have this package installed.
    parent_run
        Id of the MLflow run of the pipeline, if any.
    """

    def write_all(stage: Stage, tracked: TrackedRun) -> None:
        split_groups(read_manifest(clips)["statistics"], parameters)  # refuses bad groups before any worker starts
        _warn_of_rates(clip_rates(clips), parameters)
        _warn_of_names(parameters)
        with _one_server():
            counts = _write_batches(clips, stage.folder, parameters, workers)
        finish_windows(stage, tracked, counts)

    return run_stage(store, stage_keys.convert(clips, parameters), parent_run, write_all)


def _write_batches(clips: Path, folder: Path, parameters: ConvertParameters, workers: Workers) -> list[pd.DataFrame]:
    """Return the counts of all batches; a batch whose worker died is repeated once by a new worker."""
    missing = set(range(count_batches(clips)))
    arguments = {"clips": clips, "folder": folder, "parameters": parameters}
    counts = []
    with report_progress("convert", "batches", len(missing)) as progress:
        for _ in range(ATTEMPTS):
            for batch, outcome in _run(workers, sorted(missing), window_bytes(clips, parameters), arguments):
                if isinstance(outcome, Exception):
                    get_run_logger().warning(f"batch {batch} was lost because its worker died: {outcome}")
                    reason = outcome
                    continue
                missing.remove(batch)
                counts.append(outcome)
                progress.advance(1, clips=int(outcome["clips"].sum()), frames=int(outcome["frames"].sum()))
            if not missing:
                return counts
    raise RuntimeError(
        f"batches {sorted(missing)} of {clips} were lost {ATTEMPTS} times because their workers died ({reason}); the"
        " usual cause is too little memory: pass a smaller --set workers.processes=N and run the same command again"
    ) from reason


def _run(
    workers: Workers, batches: list[int], size: int, arguments: dict[str, Any]
) -> Iterator[tuple[int, pd.DataFrame | Exception]]:
    """Yield each finished batch with its counts, or with the error of its worker; `size`: bytes of all windows."""
    processes = min(workers.processes or usable_cores(), len(batches))
    if workers.dask is None and (processes == 1 or (workers.processes is None and size < WORTH_A_POOL)):
        for batch in batches:
            yield batch, write_windows(**arguments, batch=batch)
        return
    with ProcessPoolTaskRunner(processes) if workers.dask is None else _dask(workers.dask) as runner:
        futures = {runner.submit(write_windows, {**arguments, "batch": batch}): batch for batch in batches}
        for future in as_completed(list(futures)):
            try:
                outcome = future.result(raise_on_failure=False)
            except Exception as lost:  # from the pool or the cluster: an error of the task is returned
                yield futures[future], lost
                continue
            if isinstance(outcome, BaseException) and not future.state.is_crashed():
                raise outcome
            yield futures[future], outcome


@contextmanager
def _dask(address: str) -> Iterator[TaskRunner[Any]]:
    """Connect to the Dask cluster at this address; raise InputError if it does not answer."""
    try:
        from prefect_dask import DaskTaskRunner
    except ImportError as error:
        raise InputError(
            "workers.dask needs Dask on this machine and on the cluster's workers: pip install 'pose-uplift[dask]'"
        ) from error
    with DaskTaskRunner(address=address, client_kwargs={"timeout": "5s"}) as runner:
        try:
            runner.client.scheduler_info()
        except OSError as error:
            raise InputError(f"workers.dask={address}: no Dask scheduler answers at that address") from error
        yield runner


@contextmanager
def _one_server() -> Iterator[None]:
    """Set the URL of this run's Prefect server, even a temporary one, so that no worker starts its own server."""
    with get_client(sync_client=True) as client:
        url = str(client.api_url).rstrip("/")
    with temporary_settings({PREFECT_API_URL: url}):
        yield


def _warn_of_rates(rates: list[float], parameters: ConvertParameters) -> None:
    if parameters.fps is None and len(rates) > 1:
        get_run_logger().warning(
            f"clips have {len(rates)} frame rates, {rates[0]:g} to {rates[-1]:g} frames per second, so windows of"
            f" {parameters.window} frames have different durations; for one rate pass --set convert.fps={rates[-1]:g}"
        )


def _warn_of_names(parameters: ConvertParameters) -> None:
    if parameters.split_by is not SplitBy.GROUPS and (parameters.val_groups or parameters.test_groups):
        get_run_logger().warning(
            f"convert.val_groups and convert.test_groups have no effect with convert.split_by={parameters.split_by};"
            " to use them, pass --set convert.split_by=groups"
        )
