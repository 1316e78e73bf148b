"""Convert clips to H36M windows in this process, in a pool of processes, or on a Dask cluster.

- A small number of batches is converted in this process, one after the other. The place does not change the files.
- Processes instead of threads: a batch holds the interpreter lock for a third of its time (two fifths with windows of
  243 frames), so threads would use at most three cores.
"""

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from data_contracts.errors import InputError
from data_contracts.machine import usable_cores
from data_contracts.parameters import ConvertParameters, PipelineParameters, SplitBy, Workers
from data_contracts.splits import split_groups
from data_contracts.store.folders import Stage
from data_contracts.store.manifests import read_manifest
from tasks.convert.convert import clip_rates, count_batches, finish_windows, window_bytes, write_windows
from tasks.stage_runs.prefect_runs import run_logger
from tasks.stage_runs.progress import report_progress
from tasks.tracking.runs import TrackedRun

WORTH_A_POOL = 2 << 30  # bytes of windows; below this, starting processes takes longer than they save
ATTEMPTS = 2  # at a batch that fails or whose worker dies


def convert_clips(stage: Stage, tracked: TrackedRun, parameters: PipelineParameters, clips: Path) -> None:
    """Convert all clips of a clip store to windows, and split the windows by group.

    The workers of a Dask cluster must reach the store, and have this package installed.

    Raises
    ------
    InputError
        The groups of the split do not match the clips, no Dask scheduler answers, or a window breaks its contract.
    """
    options = parameters.convert
    split_groups(read_manifest(clips)["statistics"], options)  # refuses bad groups before any worker starts
    _warn_of_rates(clip_rates(clips), options)
    _warn_of_names(options)
    counts = _write_batches(clips, stage.folder, options, parameters.workers)
    finish_windows(stage, tracked, counts)


def _write_batches(clips: Path, folder: Path, parameters: ConvertParameters, workers: Workers) -> list[pd.DataFrame]:
    """Return the counts of all batches; a batch that failed or whose worker died is repeated once."""
    missing = set(range(count_batches(clips)))
    arguments = {"clips": clips, "folder": folder, "parameters": parameters}
    counts = []
    with report_progress("convert", "batches", len(missing)) as progress:
        for _ in range(ATTEMPTS):
            for batch, outcome in _run(workers, sorted(missing), window_bytes(clips, parameters), arguments):
                if isinstance(outcome, Exception):
                    run_logger().warning(f"batch {batch} failed and is repeated: {outcome!r}")
                    reason = outcome
                    continue
                missing.remove(batch)
                counts.append(outcome)
                progress.advance(1, clips=int(outcome["clips"].sum()), frames=int(outcome["frames"].sum()))
            if not missing:
                return counts
    if not _is_lost(reason):
        raise reason
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
            yield batch, _outcome(write_windows, batch=batch, **arguments)
        return
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, spawn) if workers.dask is None else _dask(workers.dask) as executor:
        futures = {}
        for batch in batches:
            try:
                futures[executor.submit(write_windows, **arguments, batch=batch)] = batch
            except BrokenProcessPool as error:  # a worker died before the last batch was submitted
                yield batch, error
        try:
            for future in as_completed(futures):
                yield futures[future], _outcome(future.result)
        finally:
            for future in futures:
                future.cancel()


def _outcome(compute: Callable[..., pd.DataFrame], **arguments: Any) -> pd.DataFrame | Exception:
    """Return the counts of a batch, or the error that another attempt may not meet."""
    try:
        return compute(**arguments)
    except InputError:
        raise
    except Exception as error:
        return error


def _is_lost(error: Exception) -> bool:
    """Return whether a worker died, rather than raised an error."""
    return isinstance(error, BrokenProcessPool) or type(error).__name__ == "KilledWorker"


@contextmanager
def _dask(address: str) -> Iterator[Executor]:
    """Connect to the Dask cluster at this address; raise InputError if it does not answer."""
    try:
        from distributed import Client
    except ImportError as error:
        raise InputError(
            "workers.dask needs Dask on this machine and on the cluster's workers: pip install 'pose-uplift[dask]'"
        ) from error
    try:
        client = Client(address, timeout="5s")
    except OSError as error:
        raise InputError(f"workers.dask={address}: no Dask scheduler answers at that address") from error
    with client:
        yield client.get_executor()


def _warn_of_rates(rates: list[float], parameters: ConvertParameters) -> None:
    if parameters.fps is None and len(rates) > 1:
        run_logger().warning(
            f"clips have {len(rates)} frame rates, {rates[0]:g} to {rates[-1]:g} frames per second, so windows of"
            f" {parameters.window} frames have different durations; for one rate pass --set convert.fps={rates[-1]:g}"
        )


def _warn_of_names(parameters: ConvertParameters) -> None:
    if parameters.split_by is not SplitBy.GROUPS and (parameters.val_groups or parameters.test_groups):
        run_logger().warning(
            f"convert.val_groups and convert.test_groups have no effect with convert.split_by={parameters.split_by};"
            " to use them, pass --set convert.split_by=groups"
        )
