"""Clips -> windows seen by virtual cameras, split by group, as Parquet.

Notable decisions:
- work is cut into batches of clips (the clip table's row groups). A batch writes one part per split, from its clips
  alone, so that one worker or many, here or on a cluster, and a batch that is done twice, give the same bytes;
- a part has another name until it is complete: a killed worker leaves nothing that counts;
- windows are cut straight into the memory that is validated and written, `BYTES_AT_ONCE` of it: what a worker needs
  does not grow with the number of views;
- a worker writes windows alone: MLflow and matplotlib, which take seconds to import, are imported where they are used.
"""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as arrow
import pyarrow.parquet as parquet
from pandera.errors import SchemaErrors
from prefect import task
from prefect.cache_policies import NO_CACHE

from data_contracts.clips import CLIPS_FILE, Clip, from_arrow
from data_contracts.errors import InputError
from data_contracts.parameters import ConvertParameters, ShortClips
from data_contracts.splits import SPLITS, split_groups
from data_contracts.store import identities
from data_contracts.store.folders import Stage, open_stage
from data_contracts.store.manifests import read_manifest
from data_contracts.windows import SCALARS, split_files, to_arrow, validate, window_schema
from tasks.stage_runs.retries import unless_refused
from tasks.views.cameras import SeenClip, cut_windows, draw_camera, empty_windows, see_clip, window_starts

if TYPE_CHECKING:
    from tasks.mlflow_runs.runs import TrackedRun

BYTES_AT_ONCE = 64 << 20
ROW_GROUP_BYTES = 16 << 20
COUNTS = ["clips", "too_short", "frames", "windows"]


@contextmanager
def open_windows(
    store: Path, clips: Path, parameters: ConvertParameters, parent_run: str | None = None
) -> Iterator[tuple[Stage, "TrackedRun"]]:
    """The convert stage of a clip store folder, and its MLflow run."""
    from tasks.mlflow_runs.runs import track_stage

    with (
        open_stage(store, identities.convert(clips, parameters)) as stage,
        track_stage(store, stage, parent_run) as tracked,
    ):
        yield stage, tracked


def count_batches(clips: Path) -> int:
    """Batches that a clip store is converted in."""
    return parquet.ParquetFile(clips / CLIPS_FILE).num_row_groups


def window_bytes(clips: Path, parameters: ConvertParameters) -> int:
    """About how many bytes of windows a clip store becomes, at its clips' own rate."""
    frames = read_manifest(clips)["counts"]["frames"] * parameters.views * parameters.window / parameters.stride
    return int(frames * sum(array.nbytes for array in empty_windows(1, 1).values()))


def clip_rates(clips: Path) -> list[float]:
    """Frames per second that occur in a clip store, ascending."""
    return sorted(parquet.read_table(clips / CLIPS_FILE, columns=["fps"])["fps"].unique().to_pylist())


@task(cache_policy=NO_CACHE, task_run_name="write-windows-{batch}", retries=1, retry_condition_fn=unless_refused)
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
    with _Parts(folder, batch, parameters.window) as parts:
        for clip in sorted(batch_clips, key=lambda clip: SPLITS.index(splits[clip.group])):
            split, clip = splits[clip.group], resample(clip, parameters.fps or clip.fps)
            starts = window_starts(len(clip.poses), parameters.window, parameters.stride, pad)
            for view in range(parameters.views) if len(starts) else ():
                camera = draw_camera(
                    clip.poses, clip.clip_id, view, parameters.seed, parameters.max_pitch_deg, parameters.projection
                )
                parts.add(clip, split, view, see_clip(clip.poses, camera), starts)
            kept = bool(len(starts))
            counts.append((split, clip.group, kept, not kept, kept * len(clip.poses), len(starts) * parameters.views))
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
    from tasks.mlflow_runs.figures import window_sheet

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
        parquet.write_table(sample_windows(split_files(stage.folder, "train")), sample)
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


class _Parts:
    """The parts of one batch: windows gather in memory, are validated together, and go to the file of their split."""

    def __init__(self, folder: Path, batch: int, window: int) -> None:
        self.folder, self.file, self.window = folder, f"part-{batch:05d}.parquet", window
        self.window_bytes = sum(a.nbytes for a in empty_windows(1, window).values())
        self.arrays = empty_windows(max(1, BYTES_AT_ONCE // self.window_bytes), window)
        self.filled = 0
        self.views: list[tuple[Clip, str, int, np.ndarray]] = []
        self.writers: dict[str, parquet.ParquetWriter] = {}
        self.mark = f".{uuid.uuid4().hex}.partial"

    def __enter__(self) -> "_Parts":
        return self

    def __exit__(self, exception_type: type[BaseException] | None, *_: object) -> None:
        if exception_type is None and self.filled:
            self._flush()
        for split, writer in self.writers.items():
            writer.close()
            partial = self.folder / split / (self.file + self.mark)
            if exception_type is None:
                partial.replace(self.folder / split / self.file)
            else:
                partial.unlink()

    def add(self, clip: Clip, split: str, view: int, seen: SeenClip, starts: np.ndarray) -> None:
        """Cut one view of a clip into the windows that begin at `starts`."""
        while len(starts):
            some, starts = np.split(starts, [len(self.arrays["scale"]) - self.filled])
            end = self.filled + len(some)
            cut_windows(seen, some, {name: array[self.filled : end] for name, array in self.arrays.items()})
            self.views.append((clip, split, view, some))
            self.filled = end
            if end == len(self.arrays["scale"]):
                self._flush()

    def _flush(self) -> None:
        scalars = self._scalars()
        arrays = {name: array[: self.filled] for name, array in self.arrays.items() if name != "scale"}
        try:
            validate(scalars, arrays)
        except SchemaErrors as error:
            raise InputError(f"{self.file}: windows break the contract: {_first_failures(scalars, error)}") from error
        for split, rows in scalars.groupby("split", sort=False):  # clips come split by split: each is one block
            block = slice(rows.index[0], rows.index[-1] + 1)
            self._writer(str(split)).write_table(
                to_arrow(rows, {name: array[block] for name, array in arrays.items()}),
                row_group_size=max(1, ROW_GROUP_BYTES // self.window_bytes),
            )
        self.filled, self.views = 0, []

    def _scalars(self) -> pd.DataFrame:
        clips = [(clip.clip_id, clip.group, clip.action, split, view, clip.fps) for clip, split, view, _ in self.views]
        views = pd.DataFrame(clips, columns=["clip_id", "group", "action", "split", "camera", "fps"])
        rows = views.loc[np.repeat(views.index, [len(starts) for *_, starts in self.views])].reset_index(drop=True)
        rows["start"] = np.concatenate([starts for *_, starts in self.views])
        rows["scale"] = self.arrays["scale"][: self.filled]
        names = zip(rows["clip_id"], rows["camera"], rows["start"], strict=True)
        rows["window_id"] = [f"{clip_id}-{view}-{start}" for clip_id, view, start in names]
        return rows[list(SCALARS)]

    def _writer(self, split: str) -> parquet.ParquetWriter:
        if split not in self.writers:
            (self.folder / split).mkdir(exist_ok=True)
            self.writers[split] = parquet.ParquetWriter(
                self.folder / split / (self.file + self.mark),
                window_schema(self.window),
                compression="none",
                use_dictionary=["group", "action", "split"],
                write_statistics=False,
            )
        return self.writers[split]


def _first_failures(scalars: pd.DataFrame, error: SchemaErrors) -> str:
    cases = error.failure_cases.head(3)
    return "; ".join(
        f"window {scalars['window_id'].iloc[int(case.index)]}: {case.column} {case.failure_case} breaks {case.check}"
        for case in cases.itertuples(index=False)
    )
