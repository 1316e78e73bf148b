"""Convert clips to windows of virtual cameras, split by group, as Parquet.

- The unit of work is a batch of clips (a row group of the clip table). A batch writes one part per split from its own
  clips only, so any number of workers, and a repeated batch, write the same bytes.
- The memory of a worker does not grow with the number of views (`window_parts`).
- Workers only write windows: MLflow and matplotlib take seconds to import, so the functions that use them import them.
"""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as arrow
import pyarrow.parquet as parquet

from data_contracts.clips import CLIPS_FILE, Clip, from_arrow
from data_contracts.errors import InputError
from data_contracts.parameters import ConvertParameters, ShortClips
from data_contracts.splits import SPLITS, split_groups
from data_contracts.store.folders import Stage
from data_contracts.store.manifests import read_manifest
from data_contracts.windows import split_files
from tasks.convert.cameras import draw_camera, empty_windows, project_clip, window_starts
from tasks.convert.window_parts import WindowParts

if TYPE_CHECKING:
    from tasks.tracking.runs import TrackedRun

COUNTS = ["clips", "too_short", "frames", "windows"]


def count_batches(clips: Path) -> int:
    """Return the number of batches of a clip store."""
    return parquet.ParquetFile(clips / CLIPS_FILE).num_row_groups


def window_bytes(clips: Path, parameters: ConvertParameters) -> int:
    """Estimate the size of all windows in bytes, at the clips' own frame rate."""
    held_out = parameters.val_share + parameters.test_share
    views = held_out * parameters.views + (1 - held_out) * parameters.views_of("train")
    frames = read_manifest(clips)["counts"]["frames"] * views * parameters.window / parameters.stride
    return int(frames * sum(array.nbytes for array in empty_windows(1, 1).values()))


def clip_rates(clips: Path) -> list[float]:
    """Return the distinct frame rates of a clip store, ascending."""
    return sorted(parquet.read_table(clips / CLIPS_FILE, columns=["fps"])["fps"].unique().to_pylist())


def write_windows(clips: Path, folder: Path, batch: int, parameters: ConvertParameters) -> pd.DataFrame:
    """Write the windows of one batch of clips to `folder/<split>/part-<batch>.parquet`.

    Returns
    -------
    pandas.DataFrame
        `COUNTS` by (split, group): clips cut into windows, clips that are too short, frames of the cut clips (each
        counted once, at the frame rate of the windows), and windows.

    Raises
    ------
    InputError
        A window breaks the contract; the message contains window, column, value and check.
    """
    splits = split_groups(read_manifest(clips)["statistics"], parameters)
    rows = parquet.ParquetFile(clips / CLIPS_FILE).read_row_group(batch)
    batch_clips = [clip for record_batch in rows.to_batches() for clip in from_arrow(record_batch)]
    pad = parameters.short_clips is ShortClips.PAD
    counts = []
    with WindowParts(folder, batch, parameters.window) as parts:
        for clip in sorted(batch_clips, key=lambda clip: SPLITS.index(splits[clip.group])):
            split, clip = splits[clip.group], resample(clip, parameters.fps or clip.fps)
            starts = window_starts(len(clip.poses), parameters.window, parameters.stride, pad)
            views = parameters.views_of(split)
            for view in range(views) if len(starts) else ():
                camera = draw_camera(
                    clip.poses, clip.clip_id, view, parameters.seed, parameters.max_pitch_deg, parameters.projection
                )
                parts.add(clip, split, view, project_clip(clip.poses, camera), starts)
            is_cut = bool(len(starts))
            counts.append((split, clip.group, is_cut, not is_cut, is_cut * len(clip.poses), len(starts) * views))
    return pd.DataFrame(counts, columns=["split", "group", *COUNTS]).groupby(["split", "group"]).sum()


def resample(clip: Clip, fps: float) -> Clip:
    """Resample a clip to another frame rate by linear interpolation at the times i / `fps` from its first frame.

    The new last frame is less than one new frame before the old last frame. If the rate is equal, the clip is returned
    unchanged.
    """
    if fps == clip.fps:
        return clip
    last = len(clip.poses) - 1
    frames = int(last * fps / clip.fps + 1e-6) + 1
    place = np.minimum(np.arange(frames) * clip.fps / fps, last)  # in frames of the clip
    before = place.astype(np.int64)
    after = np.minimum(before + 1, last)
    poses = clip.poses[before].astype(np.float64)
    poses += (place - before)[:, None, None] * (clip.poses[after] - poses)
    return replace(clip, fps=fps, poses=poses.astype(np.float32))


def finish_windows(stage: Stage, tracked: "TrackedRun", counts: list[pd.DataFrame]) -> None:
    """Write the counts of all batches (of `write_windows`) to the stage, and log random windows.

    Partial files of killed workers are deleted.

    Raises
    ------
    InputError
        A split has clips but no window.
    """
    from tasks.figures.motion import window_sheet

    for partial in stage.folder.rglob("*.partial"):
        partial.unlink()
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
    """Return `count` random windows of all `files`, or all if there are fewer; read only the row groups needed."""
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
