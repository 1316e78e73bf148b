"""Clips -> H36M windows in Parquet."""

from prefect import flow
from prefect.futures import wait
from prefect.task_runners import ThreadPoolTaskRunner

from data_contracts.parameters import ConvertParameters
from data_contracts.report import StageResult
from data_contracts.store import default_store, resolve
from flows.showing import show_stage
from tasks.convert import count_batches, finish_windows, open_windows, write_windows


@flow(name="convert", task_runner=ThreadPoolTaskRunner(max_workers=4))  # type: ignore[arg-type]
def convert(
    clips: str,
    parameters: ConvertParameters = ConvertParameters(),
    store: str | None = None,
    parent_run: str | None = None,
) -> StageResult:
    """See every clip through virtual cameras, cut it into windows, and split them by group.

    Parameters
    ----------
    clips
        Folder or digest of a clip store.
    """
    root = default_store(store)
    folder = resolve(root, "clips", clips)
    with open_windows(root, folder, parameters, parent_run) as (stage, tracked):
        if not stage.cached:
            parts = [write_windows.submit(folder, stage.folder, i, parameters) for i in range(count_batches(folder))]
            wait(parts)
            for part in parts:
                part.result()
            finish_windows(stage, tracked)
    result = StageResult.of(stage)
    show_stage(result)
    return result
