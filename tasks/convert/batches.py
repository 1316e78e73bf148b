"""Convert clips to H36M windows in batches, and report what was written."""

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as arrow
import pyarrow.parquet as parquet

from data_contracts.clips import CLIPS_FILE
from data_contracts.errors import InputError
from data_contracts.parameters import ConvertParameters, PipelineParameters, SplitBy, Workers
from data_contracts.splits import SPLITS, split_groups
from data_contracts.store.folders import Stage
from data_contracts.store.manifests import read_manifest
from data_contracts.windows import split_files
from tasks.batches import run_batches
from tasks.convert.cameras import empty_windows
from tasks.convert.convert import write_windows
from tasks.figures.motion import window_sheet
from tasks.stage_runs.prefect_runs import run_logger
from tasks.stage_runs.progress import report_progress
from tasks.tracking.runs import TrackedRun

WORTH_A_POOL = 2 << 30  # bytes of windows; below this, starting processes takes longer than they save


def convert_clips(stage: Stage, tracked: TrackedRun, parameters: PipelineParameters, clips: Path) -> None:
    """Convert all clips of a clip store to windows, and split the windows by group.

    The workers of a Dask cluster need access to the store, and this package.

    Raises
    ------
    InputError
        The clips do not have the groups of the splits, no Dask scheduler answers, or a window breaks its contract.
    """
    options = parameters.convert
    split_groups(read_manifest(clips)["statistics"], options)  # refuses bad groups before any worker starts
    _warn(clips, options)
    counts = _write_batches(clips, stage.folder, options, parameters.workers)
    _finish_windows(stage, tracked, counts)


def _write_batches(clips: Path, folder: Path, parameters: ConvertParameters, workers: Workers) -> list[pd.DataFrame]:
    """Return the counts of all batches; a batch that failed or whose worker died is repeated once."""
    batches = {batch: (batch,) for batch in range(parquet.ParquetFile(clips / CLIPS_FILE).num_row_groups)}
    work = partial(write_windows, clips, folder, parameters=parameters)
    in_pool = _window_bytes(clips, parameters) >= WORTH_A_POOL
    counts = []
    with report_progress("convert", "batches", len(batches)) as progress:
        for _, of_batch in run_batches(work, batches, workers, in_pool, clips):
            counts.append(of_batch)
            progress.advance(1, clips=int(of_batch["clips"].sum()), frames=int(of_batch["frames"].sum()))
    return counts


def _window_bytes(clips: Path, parameters: ConvertParameters) -> int:
    """Estimate the bytes of all windows; `convert.fps` is ignored."""
    held_out = parameters.val_share + parameters.test_share
    views = held_out * parameters.views + (1 - held_out) * parameters.views_of("train")
    frames = read_manifest(clips)["counts"]["frames"] * views * parameters.window / parameters.stride
    return int(frames * sum(array.nbytes for array in empty_windows(1, 1).values()))


def _warn(clips: Path, parameters: ConvertParameters) -> None:
    """Warn if clips have different frame rates, or if `val_groups` and `test_groups` have no effect."""
    rates = sorted(parquet.read_table(clips / CLIPS_FILE, columns=["fps"])["fps"].unique().to_pylist())
    if parameters.fps is None and len(rates) > 1:
        run_logger().warning(
            f"clips have {len(rates)} frame rates, {rates[0]:g} to {rates[-1]:g} frames per second, so windows of"
            f" {parameters.window} frames have different durations; pass --set convert.fps={rates[-1]:g}"
        )
    if parameters.split_by is not SplitBy.GROUPS and (parameters.val_groups or parameters.test_groups):
        run_logger().warning(
            f"convert.val_groups and convert.test_groups have no effect with convert.split_by={parameters.split_by};"
            " to use them, pass --set convert.split_by=groups"
        )


def _finish_windows(stage: Stage, tracked: TrackedRun, counts: list[pd.DataFrame]) -> None:
    """Write the counts of all batches to the stage, log random windows, and delete partial files of killed workers."""
    for leftover in stage.folder.rglob("*.partial"):
        leftover.unlink()
    by_group = pd.concat(counts).groupby(level=["split", "group"]).sum()
    by_split = by_group.groupby(level="split").sum().reindex(SPLITS, fill_value=0)
    for split, groups in by_group.groupby(level="split"):
        if not groups["windows"].any():
            raise InputError(
                f"no window in split {split}: its clips are shorter than convert.window={stage.parameters['window']};"
                " pass --set convert.short_clips=pad or a smaller --set convert.window"
            )
    stage.counts |= {
        "windows": by_split["windows"].to_dict(),
        "clips": by_split["clips"].to_dict(),
        "too_short": int(by_split["too_short"].sum()),
        "frames": int(by_split["frames"].sum()),
    }
    stage.statistics |= {
        "groups": {split: [group for of_split, group in by_group.index if of_split == split] for split in SPLITS},
        "per_group": by_group.reset_index("split").to_dict("index"),
    }
    sampled_split = next(split for split in SPLITS if by_split["windows"][split])
    tracked.log_figure(window_sheet(sample_windows(split_files(stage.folder, sampled_split))), "windows.png")
    tracked.set_tags({f"uplift.windows.{split}": count for split, count in by_split["windows"].items()})


def sample_windows(files: list[Path], count: int = 12, seed: int = 0) -> arrow.Table:
    """Return at most `count` random windows of `files`; only the row groups of these windows are read."""
    parts = [parquet.ParquetFile(file) for file in files]
    groups = [(part, group) for part in parts for group in range(part.num_row_groups)]
    ends = np.cumsum([part.metadata.row_group(group).num_rows for part, group in groups])
    chosen = np.sort(np.random.default_rng(seed).choice(ends[-1], min(count, ends[-1]), replace=False))
    tables = []
    for place in np.unique(np.searchsorted(ends, chosen, side="right")):
        part, group = groups[place]
        first = ends[place] - part.metadata.row_group(group).num_rows
        tables.append(part.read_row_group(group).take(chosen[(chosen >= first) & (chosen < ends[place])] - first))
    return arrow.concat_tables(tables)
