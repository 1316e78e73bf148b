"""What is known of each clip: its name, who moves in it (its group), and at which rate.

A row of the clip list says it, else the motion file itself. Where neither names a subject it is told from the clip's
name: `ingest.group_pattern` found in it, or else the AMASS rule, DATASET_SUBJECT_... (`data_contracts.amass`). The rule
applies to the names of a clip list, and to a file's own names where they begin with an AMASS data set; other clips are
each a group of their own, and the warnings say so. Chunks of one recording share its name and so its group. A name that
several files give is one group: the same person, as far as anyone can tell, and safe in a split if it is not.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from data_contracts.amass import dataset_of, subject_of
from data_contracts.errors import InputError, some
from data_contracts.parameters import GroupBy, IngestParameters
from tasks.ingest.layouts import Motion

_COLUMNS = ("subject", "action", "fps", "clip_len")
_MOST_BYTES = 64 * 2**20  # 500,000 clips


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
    """A label for every clip of a file, in its order; how many do not say who moves, and how many do by their name."""

    clips: list[ClipLabel]
    unknown: int
    told: int


def datasets(clips: Sequence[ClipLabel]) -> dict[str, str | None]:
    """AMASS data set of each group; None where its names tell none, or more than one."""
    found: dict[str, set[str | None]] = {}
    for clip in clips:
        found.setdefault(clip.group, set()).add(clip.dataset)
    return {group: next(iter(sets)) if len(sets) == 1 else None for group, sets in sorted(found.items())}


def label_clips(motions: list[Motion], clip_list: Path | None, parameters: IngestParameters, first: int = 0) -> Labels:
    """Names, groups and rates of the motions of a file.

    Parameters
    ----------
    first
        Clips in the files before this one: those that nothing names are numbered through all files.

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
        name = _valid(row.get("fname") or motion.name or f"clip_{first + index:06d}")
        dataset = dataset_of(name)
        subject = _valid(row.get("subject") or motion.subject or "")
        if not subject and (table is not None or parameters.group_pattern or dataset):
            subject = subject_of(name, parameters.group_pattern)
            told += 1
        unknown += not subject
        group = {
            GroupBy.SUBJECT: subject or name,
            GroupBy.RECORDING: name,
            GroupBy.CLIP: f"{name}#{first + index}",
        }[parameters.group_by]
        where = f"{clip_list}, row {index} ({name})"
        rate = row.get("fps") or motion.fps or parameters.fps
        frames = row.get("clip_len")
        clips.append(
            ClipLabel(
                name=name,
                group=group,
                action=_valid(row.get("action") or motion.action or "unknown"),
                fps=_number(rate, where, "fps"),
                frames=int(_number(frames, where, "clip_len")) if frames else None,
                dataset=dataset,
            )
        )
    return Labels(clips, unknown, told)


def label_warnings(files: Mapping[str, Labels], parameters: IngestParameters) -> list[str]:
    """What a person should know before trusting a split by group; `files` by the names that messages give them."""
    clips = [clip for labels in files.values() for clip in labels.clips]
    lines = _same_group_in_several(files)
    if parameters.group_by is not GroupBy.SUBJECT:
        return [f"groups are {parameters.group_by}s, not people: one person may stand in two splits", *lines]
    unknown, told = (
        {name: getattr(labels, what) for name, labels in files.items() if getattr(labels, what)}
        for what in ("unknown", "told")
    )
    if unknown:
        lines.append(
            f"groups are not people: {sum(unknown.values())} of {len(clips)} clips{_in(unknown, files)} do not say who"
            " moves, each is its own group, and one person may stand in two splits; pass a clip list with a column"
            " subject, or ingest.group_pattern"
        )
    if told:
        lines.append(
            f"the subjects of {sum(told.values())} of {len(clips)} clips{_in(told, files)} were told from their names"
            f" ({len({clip.group for clip in clips})} groups in all); see them in the manifest, and pass --set"
            " ingest.group_pattern=REGEX if they are not people"
        )
    return lines


def _same_group_in_several(files: Mapping[str, Labels]) -> list[str]:
    counts: dict[str, dict[str, int]] = {}
    for name, labels in files.items():
        for group, clips in Counter(clip.group for clip in labels.clips).items():
            counts.setdefault(group, {})[name] = clips
    several = {group: of_file for group, of_file in sorted(counts.items()) if len(of_file) > 1}
    if not several:
        return []
    shown = [
        f"{group} ({some([f'{clips} in {name}' for name, clips in of_file.items()])})"
        for group, of_file in several.items()
    ]
    return [
        f"{len(several)} group(s) of the same name in several files are taken for one person each, with clips:"
        f" {some(shown)}; give them other names in the clip lists if they are not"
    ]


def _in(some_files: Mapping[str, int], files: Mapping[str, Labels]) -> str:
    return f" (in {some(list(some_files))})" if len(files) > 1 else ""


def _read(path: Path) -> pd.DataFrame:
    if path.stat().st_size > _MOST_BYTES:
        raise InputError(f"{path}: a clip list has at most {_MOST_BYTES >> 20} MiB")
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, skipinitialspace=True)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not a readable clip list ({' '.join(str(error).split())})") from error
    table = table.rename(columns=str.strip).apply(lambda column: column.str.strip())  # MotionBERT writes `a , b , c`
    if "fname" not in table:
        raise InputError(f"{path}: a clip list needs a column fname; found {', '.join(table.columns)}")
    return table.reindex(columns=["fname", *_COLUMNS], fill_value="")


def _valid(text: str) -> str:
    """A text that can be stored; lone surrogates, which numpy and pickle allow, are escaped."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _number(value: object, where: str, column: str) -> float:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = -1.0
    if not 0 <= number < 1e9 or (column == "fps" and not 0 < number <= 1000):
        raise InputError(f"{where}: {column} is {value!r}; expected a number above 0")
    return number
