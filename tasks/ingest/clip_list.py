"""Assign a name, a group (usually the subject), an action and a frame rate to each clip.

- The clip list has priority over the motion file. If neither contains a subject, the clip's name determines it: by
  `ingest.group_pattern`, or by the AMASS rule DATASET_SUBJECT_... (`data_contracts.splits`). The AMASS rule applies to
  names from a clip list, and to names from a motion file if they begin with the name of an AMASS data set.
- A clip without a subject is its own group. Clips of several files with the same group name are one group.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd

from data_contracts.errors import InputError, some
from data_contracts.parameters import GroupBy, IngestParameters
from data_contracts.splits import dataset_of, subject_of
from tasks.ingest.layouts import Motion

_COLUMNS = ("subject", "action", "fps", "clip_len")
_MOST_BYTES = 64 * 2**20  # 500,000 clips


SubjectFrom = Literal["data", "name", "nothing"]  # data: the clip list or the motion file


@dataclass(frozen=True)
class ClipLabel:
    """Metadata of one clip."""

    name: str
    group: str
    action: str
    fps: float
    frames: int | None  # according to the clip list
    dataset: str | None
    subject_from: SubjectFrom


def datasets(clips: Sequence[ClipLabel]) -> dict[str, str | None]:
    """Return the AMASS data set of each group; None if its clip names begin with none or differ in it."""
    of_group: defaultdict[str, set[str | None]] = defaultdict(set)
    for clip in clips:
        of_group[clip.group].add(clip.dataset)
    return {group: next(iter(sets)) if len(sets) == 1 else None for group, sets in sorted(of_group.items())}


def label_clips(
    motions: list[Motion], clip_list: Path | None, parameters: IngestParameters, first: int = 0
) -> list[ClipLabel]:
    """Return the labels of a file's motions; `clip_list` is a CSV with one row per motion, in the same order.

    `first` is the number of clips in earlier files: clips without a name are numbered across all files.

    Raises
    ------
    InputError
        The clip list is not readable, does not match the motion file, or contains an invalid number.
    """
    table = None if clip_list is None else _read(clip_list)
    if table is not None and len(table) != len(motions):
        raise InputError(
            f"{clip_list} has {len(table)} rows, but the motion file has {len(motions)} clips; pass the clip list of"
            " this motion file"
        )
    rows = [{}] * len(motions) if table is None else table.to_dict("records")
    clips = []
    for index, (motion, row) in enumerate(zip(motions, rows, strict=True)):
        name = _valid(row.get("fname") or motion.name or f"clip_{first + index:06d}")
        dataset = dataset_of(name)
        subject = _valid(row.get("subject") or motion.subject or "")
        subject_from: SubjectFrom = "data" if subject else "nothing"
        if not subject and (table is not None or parameters.group_pattern or dataset):
            subject, subject_from = subject_of(name, parameters.group_pattern), "name"
        group = {
            GroupBy.SUBJECT: subject or name,
            GroupBy.RECORDING: name,
            GroupBy.CLIP: f"{name}#{first + index}",
        }[parameters.group_by]
        where = f"{clip_list}, row {index} ({name})"
        action = _valid(row.get("action") or motion.action or "unknown")
        fps = _number(row.get("fps") or motion.fps or parameters.fps, where, "fps")
        frames = row.get("clip_len")
        frames = int(_number(frames, where, "clip_len")) if frames else None
        clips.append(ClipLabel(name, group, action, fps, frames, dataset, subject_from))
    return clips


def label_warnings(files: Mapping[str, Sequence[ClipLabel]], parameters: IngestParameters) -> list[str]:
    """Return warnings about groups that may not be subjects; `files` has the labels of each file by file name."""
    lines = _same_group_in_several(files)
    if parameters.group_by is not GroupBy.SUBJECT:
        return [f"groups are {parameters.group_by}s, not subjects: one subject may be in two splits", *lines]
    clips = [clip for labels in files.values() for clip in labels]
    without, by_name = (_with_subject_from(source, files) for source in ("nothing", "name"))
    if without:
        lines.append(
            f"groups are not subjects: {without} have no subject; each clip is its own group, and one subject may be"
            " in two splits; pass a clip list with a column subject, or --set ingest.group_pattern=REGEX"
        )
    if by_name:
        lines.append(
            f"the subjects of {by_name} were derived from clip names ({len({clip.group for clip in clips})} groups in"
            " all); check the groups in the manifest, and pass --set ingest.group_pattern=REGEX if they are not"
            " subjects"
        )
    return lines


def _with_subject_from(source: str, files: Mapping[str, Sequence[ClipLabel]]) -> str:
    """Return the clips with this `subject_from` as text, e.g. `3 of 9 clips (in a.npz)`; empty if there are none."""
    counts = {name: sum(clip.subject_from == source for clip in labels) for name, labels in files.items()}
    names = [name for name, count in counts.items() if count]
    place = f" (in {some(names)})" if len(files) > 1 else ""
    return f"{sum(counts.values())} of {sum(map(len, files.values()))} clips{place}" if names else ""


def _same_group_in_several(files: Mapping[str, Sequence[ClipLabel]]) -> list[str]:
    counts: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for name, labels in files.items():
        for group, clips in Counter(clip.group for clip in labels).items():
            counts[group][name] = clips
    listed = [
        f"{group} ({some([f'{clips} in {name}' for name, clips in of_file.items()])})"
        for group, of_file in sorted(counts.items())
        if len(of_file) > 1
    ]
    line = (
        f"{len(listed)} group name(s) occur in several files, and each name is treated as one subject: clips of"
        f" {some(listed)}; if a name stands for different subjects, rename them in the clip lists"
    )
    return [line] if listed else []


def _read(path: Path) -> pd.DataFrame:
    if path.stat().st_size > _MOST_BYTES:
        raise InputError(f"{path}: larger than {_MOST_BYTES >> 20} MiB; pass a CSV with one row per clip")
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, skipinitialspace=True)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{path}: not a readable clip list ({reason}); if this CSV is not a clip list, rename it"
        ) from error
    table = table.rename(columns=str.strip).apply(lambda column: column.str.strip())  # MotionBERT writes `a , b , c`
    if "fname" not in table:
        raise InputError(
            f"{path}: the clip list has no column fname with the clip names; its columns are {', '.join(table.columns)}"
        )
    return table.reindex(columns=["fname", *_COLUMNS], fill_value="")


def _valid(text: str) -> str:
    """Escape lone surrogates, which numpy and pickle allow but UTF-8 cannot store."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _number(value: object, where: str, column: str) -> float:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = -1.0
    bound = "above 0 and at most 1000" if column == "fps" else "of at least 0 and below 1e9"
    if not 0 <= number < 1e9 or (column == "fps" and not 0 < number <= 1000):
        raise InputError(f"{where}: {column} is {value!r}; expected a number {bound}")
    return number
