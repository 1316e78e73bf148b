"""Clips -> windows seen by virtual cameras, split by group, as Parquet.

Work is cut into batches of clips (the clip table's row groups). A batch writes one part per split, from its clips
alone, so that one worker or many, and a batch that is done twice, give the same bytes.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as parquet
from pandera.errors import SchemaErrors
from prefect import task
from prefect.cache_policies import NO_CACHE

from data_contracts import identities
from data_contracts.clips import CLIPS_FILE, Clip, from_arrow
from data_contracts.errors import InputError
from data_contracts.parameters import ConvertParameters, ShortClips
from data_contracts.splits import SPLITS, assign_splits
from data_contracts.store import Stage, open_stage, read_manifest
from data_contracts.windows import SCALARS, split_files, to_arrow, validate
from tasks.cameras import draw_camera, see_windows, window_starts
from tasks.pictures import window_sheet
from tasks.retries import unless_refused
from tasks.tracking import TrackedRun, track_stage

WINDOWS_PER_ROW_GROUP = 4096


@contextmanager
def open_windows(
    store: Path, clips: Path, parameters: ConvertParameters, parent_run: str | None = None
) -> Iterator[tuple[Stage, TrackedRun]]:
    """The convert stage of a clip store folder, and its MLflow run."""
    with (
        open_stage(store, identities.convert(clips, parameters)) as stage,
        track_stage(store, stage, parent_run) as tracked,
    ):
        yield stage, tracked


def count_batches(clips: Path) -> int:
    """Batches that a clip store is converted in."""
    return parquet.ParquetFile(clips / CLIPS_FILE).num_row_groups


@task(cache_policy=NO_CACHE, task_run_name="write-windows-{batch}", retries=1, retry_condition_fn=unless_refused)
def write_windows(clips: Path, folder: Path, batch: int, parameters: ConvertParameters) -> None:
    """Write the windows of one batch of clips: `folder/<split>/part-<batch>.parquet`.

    Raises
    ------
    InputError
        A window breaks the contract; names window, check and value.
    """
    splits = assign_splits(
        read_manifest(clips)["statistics"]["groups"], parameters.val_share, parameters.test_share, parameters.split_seed
    )
    rows = parquet.ParquetFile(clips / CLIPS_FILE).read_row_group(batch)
    by_split: dict[str, list[tuple[pd.DataFrame, dict[str, np.ndarray]]]] = {split: [] for split in SPLITS}
    for record_batch in rows.to_batches():
        for clip in from_arrow(record_batch):
            for view in range(parameters.views):
                seen = _clip_windows(clip, view, splits[clip.group], parameters)
                if seen is not None:
                    by_split[splits[clip.group]].append(seen)
    for split, pieces in by_split.items():
        if pieces:
            _write_part(folder / split / f"part-{batch:05d}.parquet", pieces)


def finish_windows(stage: Stage, tracked: TrackedRun) -> None:
    """Count what was written into the stage, and show a sheet of random windows.

    Raises
    ------
    InputError
        A split that training or evaluation needs got no window.
    """
    files = {split: split_files(stage.folder, split) for split in SPLITS}
    windows = {split: sum(parquet.read_metadata(file).num_rows for file in files[split]) for split in SPLITS}
    for split, count in windows.items():
        if not count:
            raise InputError(
                f"no window in split {split}: its clips are shorter than convert.window={stage.parameters['window']};"
                " use --set convert.short_clips=pad or a shorter window"
            )
    groups = {
        split: sorted(
            {
                g
                for file in files[split]
                for g in parquet.read_table(file, columns=["group"], partitioning=None)[0].unique().to_pylist()
            }
        )
        for split in SPLITS
    }
    stage.counts |= {"windows": windows}
    stage.statistics |= {"groups": groups}
    tracked.log_figure(window_sheet(files["train"][0]), "windows.png")
    tracked.set_tags({f"uplift.windows.{split}": count for split, count in windows.items()})


def _clip_windows(
    clip: Clip, view: int, split: str, parameters: ConvertParameters
) -> tuple[pd.DataFrame, dict[str, np.ndarray]] | None:
    pad = parameters.short_clips is ShortClips.PAD
    starts = window_starts(len(clip.poses), parameters.window, parameters.stride, pad)
    if not len(starts):
        return None
    camera = draw_camera(
        clip.poses, clip.clip_id, view, parameters.seed, parameters.max_pitch_deg, parameters.projection
    )
    arrays = see_windows(clip.poses, starts, parameters.window, camera)
    scalars = pd.DataFrame(
        {
            "window_id": [f"{clip.clip_id}-{view}-{start}" for start in starts],
            "clip_id": clip.clip_id,
            "group": clip.group,
            "action": clip.action,
            "split": split,
            "camera": view,
            "start": starts,
            "fps": clip.fps,
            "scale": arrays.pop("scale"),
        },
        columns=list(SCALARS),
    )
    return scalars, arrays


def _write_part(path: Path, pieces: list[tuple[pd.DataFrame, dict[str, np.ndarray]]]) -> None:
    scalars = pd.concat([rows for rows, _ in pieces], ignore_index=True)
    arrays = {name: np.concatenate([a[name] for _, a in pieces]) for name in pieces[0][1]}
    try:
        validate(scalars, arrays)
    except SchemaErrors as error:
        raise InputError(f"{path.name}: windows break the contract: {_first_failures(scalars, error)}") from error
    path.parent.mkdir(exist_ok=True)
    parquet.write_table(
        to_arrow(scalars, arrays),
        path,
        row_group_size=WINDOWS_PER_ROW_GROUP,
        compression="none",
        use_dictionary=["group", "action", "split"],
        write_statistics=False,
    )


def _first_failures(scalars: pd.DataFrame, error: SchemaErrors) -> str:
    cases = error.failure_cases.head(3)
    return "; ".join(
        f"window {scalars['window_id'].iloc[int(case.index)]}: {case.column} {case.failure_case} breaks {case.check}"
        for case in cases.itertuples(index=False)
    )
