"""What is known of each clip: its name, who moves in it (its group), and at which rate.

A row of the clip list says it, else the motion file itself. Where neither names a subject it is told from the clip's
name: `ingest.group_pattern` found in it, or else the AMASS rule, DATASET_SUBJECT_... (`data_contracts.amass`). The rule
applies to the names of a clip list, and to a file's own names where they begin with an AMASS data set; other clips are
each a group of their own, and the warnings say so. Chunks of one recording share its name and so its group.
"""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from data_contracts.amass import dataset_of, subject_of
from data_contracts.errors import InputError
from data_contracts.parameters import GroupBy, IngestParameters
from tasks.motion_files.layouts import Motion

_COLUMNS = ("subject", "action", "fps", "clip_len")


@dataclass(frozen=True)
class ClipLabel:
    """What stands beside a clip's poses; `frames` is what the clip list says of its length."""

    name: str
    group: str
    action: str
    fps: float
    frames: int | None
    dataset: str | None


@dataclass(frozen=True)
class Labels:
    """A label for every clip, in file order, and what a person should know before trusting a split by group."""

    clips: list[ClipLabel]
    warnings: list[str]

    @property
    def datasets(self) -> dict[str, str | None]:
        """AMASS data set of each group; None where its names tell none, or more than one."""
        found: dict[str, set[str | None]] = {}
        for clip in self.clips:
            found.setdefault(clip.group, set()).add(clip.dataset)
        return {group: next(iter(sets)) if len(sets) == 1 else None for group, sets in sorted(found.items())}


def label_clips(motions: list[Motion], clip_list: Path | None, parameters: IngestParameters) -> Labels:
    """Names, groups and rates of the motions of a file.

    Raises
    ------
    InputError
        The clip list is no clip list, has other clips than the file, or a value that is no number.
    """
    table = None if clip_list is None else _read(clip_list)
    if table is not None and len(table) != len(motions):
        raise InputError(
            f"{clip_list} has {len(table)} rows, the motion file {len(motions)} clips: they do not belong together"
        )
    rows = [{}] * len(motions) if table is None else table.to_dict("records")
    clips, unknown, told = [], 0, 0
    for index, (motion, row) in enumerate(zip(motions, rows, strict=True)):
        name = row.get("fname") or motion.name or f"clip_{index:06d}"
        dataset = dataset_of(name)
        subject = row.get("subject") or motion.subject
        if not subject and (table is not None or parameters.group_pattern or dataset):
            subject = subject_of(name, parameters.group_pattern)
            told += 1
        unknown += not subject
        group = {
            GroupBy.SUBJECT: subject or name,
            GroupBy.RECORDING: name,
            GroupBy.CLIP: f"{name}#{index}",
        }[parameters.group_by]
        where = f"{clip_list}, row {index} ({name})"
        rate = row.get("fps") or motion.fps or parameters.fps
        frames = row.get("clip_len")
        clips.append(
            ClipLabel(
                name=name,
                group=group,
                action=row.get("action") or motion.action or "unknown",
                fps=_number(rate, where, "fps"),
                frames=int(_number(frames, where, "clip_len")) if frames else None,
                dataset=dataset,
            )
        )
    return Labels(clips, _warnings(len(clips), unknown, told, len({clip.group for clip in clips}), parameters))


def _warnings(clips: int, unknown: int, told: int, groups: int, parameters: IngestParameters) -> list[str]:
    if parameters.group_by is not GroupBy.SUBJECT:
        return [f"groups are {parameters.group_by}s, not people: one person may stand in two splits"]
    lines = []
    if unknown:
        lines.append(
            f"groups are not people: {unknown} of {clips} clips do not say who moves, each is its own group, and one"
            " person may stand in two splits; pass a clip list with a column subject, or ingest.group_pattern"
        )
    if told:
        lines.append(
            f"the subjects of {told} of {clips} clips were told from their names ({groups} groups in all); see them"
            " in the manifest, and pass --set ingest.group_pattern=REGEX if they are not people"
        )
    return lines


def _read(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, skipinitialspace=True)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not a readable clip list ({' '.join(str(error).split())})") from error
    table = table.rename(columns=str.strip).apply(lambda column: column.str.strip())  # MotionBERT writes `a , b , c`
    if "fname" not in table:
        raise InputError(f"{path}: a clip list needs a column fname; found {', '.join(table.columns)}")
    return table.reindex(columns=["fname", *_COLUMNS], fill_value="")


def _number(value: object, where: str, column: str) -> float:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = -1.0
    if not 0 <= number < 1e9 or (column == "fps" and not 0 < number <= 1000):
        raise InputError(f"{where}: {column} is {value!r}; expected a number above 0")
    return number
