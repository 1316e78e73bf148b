"""Run the batches of a stage in this process, in a pool of processes, or on a Dask cluster.

The workers are processes, not threads, because a batch holds the interpreter lock for a third of its time.
"""

import multiprocessing
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from data_contracts.errors import InputError
from data_contracts.machine import usable_cores
from data_contracts.parameters import Workers
from tasks.stage_runs.prefect_runs import run_logger

ATTEMPTS = 2  # per batch, if it fails or its worker dies
Arguments = tuple[Any, ...]
Outcome = TypeVar("Outcome")


def run_batches(
    work: Callable[..., Outcome], batches: Mapping[int, Arguments], workers: Workers, in_pool: bool, source: Path
) -> Iterator[tuple[int, Outcome]]:
    """Yield each batch with the result of `work(*batches[batch])`, in any order; a batch that fails is repeated once.

    Parameters
    ----------
    work
        A function that can be pickled; a second call for a batch overwrites the files of the first call.
    batches
        Arguments of `work` by the number of the batch.
    in_pool
        Without `workers.processes` and `workers.dask`: one process per core if true, this process if false.
    source
        Path of the input, for error messages.

    Raises
    ------
    InputError
        `work` raises an InputError, or no Dask scheduler answers.
    RuntimeError
        The workers of a batch died twice. Other errors of `work` are raised after the second attempt.
    """
    missing = set(batches)
    reason: Exception | None = None
    for _ in range(ATTEMPTS):
        for batch, outcome in _run(work, {batch: batches[batch] for batch in sorted(missing)}, workers, in_pool):
            if isinstance(outcome, Exception):
                run_logger().warning(f"batch {batch} failed and is repeated: {outcome!r}")
                reason = outcome
                continue
            missing.remove(batch)
            yield batch, outcome
        if not missing:
            return
    assert reason is not None, "a batch is missing only after an error"
    if not isinstance(reason, BrokenProcessPool) and type(reason).__name__ != "KilledWorker":
        raise reason
    raise RuntimeError(
        f"{source}: the workers of batches {sorted(missing)} died {ATTEMPTS} times ({reason}), usually from lack of"
        " memory; pass a smaller --set workers.processes=N and run the same command again"
    ) from reason


def _run(
    work: Callable[..., Outcome], batches: Mapping[int, Arguments], workers: Workers, in_pool: bool
) -> Iterator[tuple[int, Outcome | Exception]]:
    """Yield each finished batch with its result or the error of its worker."""
    processes = min(workers.processes or usable_cores(), len(batches))
    if workers.dask is None and (processes <= 1 or (workers.processes is None and not in_pool)):
        for batch, arguments in batches.items():
            yield batch, _outcome(partial(work, *arguments))
        return
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, spawn) if workers.dask is None else _dask(workers.dask) as executor:
        futures = {}
        for batch, arguments in batches.items():
            try:
                futures[executor.submit(work, *arguments)] = batch
            except BrokenProcessPool as error:  # a worker died before the last batch was submitted
                yield batch, error
        try:
            for future in as_completed(futures):
                yield futures[future], _outcome(future.result)
        finally:
            for future in futures:
                future.cancel()


def _outcome(compute: Callable[[], Outcome]) -> Outcome | Exception:
    """Return the result of a batch, or the error to repeat it for; an InputError passes: repeating cannot help."""
    try:
        return compute()
    except InputError:
        raise
    except Exception as error:
        return error


@contextmanager
def _dask(address: str) -> Iterator[Executor]:
    """Connect to the Dask cluster at this address; raise an InputError if its scheduler does not answer."""
    try:
        from distributed import Client
    except ImportError as error:
        raise InputError(
            "workers.dask needs Dask on this machine and on the cluster's workers: pip install 'pose-uplift[dask]'"
        ) from error
    try:
        client = Client(address, timeout="5s")
    except OSError as error:
        raise InputError(f"workers.dask={address}: no Dask scheduler answers; start one or pass its address") from error
    with client:
        yield client.get_executor()
