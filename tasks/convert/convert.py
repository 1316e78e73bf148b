"""Clips -> windows seen by virtual cameras, split by group, as Parquet.

Notable decisions:
- work is cut into batches of clips (the clip table's row groups). A batch writes one part per split, from its clips
  alone, so that one worker or many, here or on a cluster, and a batch that is done twice, give the same bytes;
- a part has another name until it is complete: a killed worker leaves nothing that counts;
- windows are cut straight into the memory that is validated and written, `BYTES_AT_ONCE` of it: what a worker needs
  does not grow with the number of views;
- a worker writes windows alone: MLflow and matplotlib, which take seconds to import, are imported where they are used.
"""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
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
from tasks.convert.cameras import draw_camera, empty_windows, see_clip, window_starts
from tasks.convert.window_parts import WindowParts

if TYPE_CHECKING:
    from tasks.tracking.runs import TrackedRun

COUNTS = ["clips", "too_short", "frames", "windows"]


def count_batches(clips: Path) -> int:
    """Batches that a clip store is converted in."""
    return parquet.ParquetFile(clips / CLIPS_FILE).num_row_groups


def window_bytes(clips: Path, parameters: ConvertParameters) -> int:
    """About how many bytes of windows a clip store becomes, at its clips' own rate."""
    held_out = parameters.val_share + parameters.test_share
    views = held_out * parameters.views + (1 - held_out) * parameters.views_of("train")
    frames = read_manifest(clips)["counts"]["frames"] * views * parameters.window / parameters.stride
    return int(frames * sum(array.nbytes for array in empty_windows(1, 1).values()))


def clip_rates(clips: Path) -> list[float]:
    """Frames per second that occur in a clip store, ascending."""
    return sorted(parquet.read_table(clips / CLIPS_FILE, columns=["fps"])["fps"].unique().to_pylist())


def write_windows(clips: Path, folder: Path, batch: int, parameters: ConvertParameters) -> pd.DataFrame:
    """Write the windows of one batch of clips: `folder/<split>/part-<batch>.parquet`.

    Returns
    -------
    pandas.DataFrame
        `COUNTS` by (split, group): clips cut into windows, clips too short for one, their frames (each counted once, at
        the windows' rate), and windows.

    Raises
    ------
    InputError
        A window breaks the contract; names window, check and value.
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
                parts.add(clip, split, view, see_clip(clip.poses, camera), starts)
            kept = bool(len(starts))
            counts.append((split, clip.group, kept, not kept, kept * len(clip.poses), len(starts) * views))
    return pd.DataFrame(counts, columns=["split", "group", *COUNTS]).groupby(["split", "group"]).sum()


def resample(clip: Clip, fps: float) -> Clip:
    """The clip at another rate: poses at the times i / `fps` from its first frame, on the line between two frames.

    Its last frame lies less than one new frame after the new last one. At its own rate a clip stays as it is.
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
    """Sum up what the batches wrote into the stage, clear away what killed workers left, and show random windows.

    Raises
    ------
    InputError
        A split got clips but no window.
    """
    from tasks.figures.motion import window_sheet

    for left in stage.folder.rglob("*.partial"):
        left.unlink()
    by_group = pd.concat(counts).groupby(level=["split", "group"]).sum()
    by_split = by_group.groupby(level="split").sum().reindex(SPLITS, fill_value=0)
    for split, groups in by_group.groupby(level="split"):
        if not groups["windows"].any():
            raise InputError(
                f"no window in split {split}: its clips are shorter than convert.window={stage.parameters['window']};"
                " use --set convert.short_clips=pad or a shorter window"
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
    with TemporaryDirectory() as folder:
        sample = Path(folder) / "sample.parquet"
        shown = next(split for split in SPLITS if by_split["windows"][split])
        parquet.write_table(sample_windows(split_files(stage.folder, shown)), sample)
        tracked.log_figure(window_sheet(sample), "windows.png")
    tracked.set_tags({f"uplift.windows.{split}": count for split, count in by_split["windows"].items()})


def sample_windows(files: list[Path], count: int = 12, seed: int = 0) -> arrow.Table:
    """Random windows of all `files` together, or all there are; reads only the row groups that hold them."""
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
