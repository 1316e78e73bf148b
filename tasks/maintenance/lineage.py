"""The chain from a model version, or from any stage, back to the files that people gave; and what came of a stage.

A link is named by the part that it played (`pretrained`, `windows`, `source`), and is followed by digest through the
records. Where there is no record of it, the link says why: a file that was given, or what could not be found or asked.
"""

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mlflow.entities.model_registry import ModelVersion

from data_contracts.errors import InputError
from data_contracts.store.digests import KINDS, file_digest
from data_contracts.store.folders import resolve
from tasks.maintenance.lineage_records import Record, Records, of_folder
from tasks.tracking.registry import CHECKPOINT_TAG, FLIP_TAG, WINDOWS_TAG, find_version, version_uri
from tasks.tracking.runs import connect

_GIVEN = re.compile(r"(source|clip_list)(_\d+)?")  # inputs that no stage need have left
AS_ABOVE = "as above"  # of a link that stands in the chain already


@dataclass
class Link:
    """One step of a chain: `role` in what came after it, what it is in words, and where it came from itself.

    `digest` is how it is named there: a stage's own, or of a file (weights, motion) its SHA-256.
    """

    role: str
    digest: str
    stage: str | None = None
    stage_digest: str | None = None
    about: str = ""
    code: dict[str, Any] = field(default_factory=dict)
    created: str | None = None
    where: str | None = None
    mlflow_run: str | None = None
    unknown: str | None = None  # why nothing stands behind it
    links: list["Link"] = field(default_factory=list)

    def find(self, stage: str) -> "Link | None":
        """The nearest link of that stage, this one or one behind it."""
        return (
            self if self.stage == stage else next((found for link in self.links if (found := link.find(stage))), None)
        )


@dataclass
class Lineage:
    """`chain`: from what was asked for, backwards; `came_of_it`: the stages and versions that were made from it."""

    chain: Link
    came_of_it: list[Link]
    unasked: list[str]


def trace(store: Path, reference: str) -> Lineage:
    """The lineage of a model version (`models:/...`), a stage's digest or folder, or a file.

    Raises
    ------
    InputError
        There is none of that name.
    MlflowException
        A version is asked for, and the registry could not be.
    """
    records = Records(store)
    if reference.startswith("models:/"):
        version = find_version(connect(store), reference)
        return Lineage(of_version(records, version), [], records.unasked)
    record, digest = _named(records, reference)
    chain = _link(records, "asked for", digest, set(), record)
    start = record or Record("file", digest, "", {}, reference, {})
    return Lineage(chain, _came_of(records, start), records.unasked)


def of_version(records: Records, version: ModelVersion) -> Link:
    """The chain of a version: its weights, and the windows that it was scored on where they are others."""
    digest, seen = version.tags.get(CHECKPOINT_TAG, ""), set[str]()
    link = _version_link(version)
    link.links.append(_link(records, "weights", digest, seen))
    if scored := version.tags.get(WINDOWS_TAG):
        link.links.append(_link(records, "scored on", scored, seen))
    return link


def _named(records: Records, reference: str) -> tuple[Record | None, str]:
    """The record of a stage, or the digest of a file that none left."""
    path = Path(reference)
    if path.is_file():
        digest = file_digest(path)
        return records.that_left(digest), digest
    try:
        record = of_folder(resolve(records.store, "*", reference))
    except InputError:
        known = records.of_digest(reference) or records.that_left(reference)
        if known is None:
            raise InputError(f"{reference}: {_not_found(records)}") from None
        record = known
    return record, record.digest


def _link(records: Records, role: str, digest: str, seen: set[str], record: Record | None = None) -> Link:
    given = _GIVEN.fullmatch(role) is not None
    is_file = given or role in ("weights", "pretrained", "checkpoint") or record is not None
    record = record or (records.that_left(digest) if is_file else records.of_digest(digest))
    if record is None:
        if given:
            return Link(role, digest, about="a file that was given")
        return Link(role, digest, unknown=_not_found(records))
    link = _stage_link(records, role, digest, record)
    if record.digest in seen:
        link.unknown = AS_ABOVE
        return link
    seen.add(record.digest)
    if record.inputs is None:
        link.unknown = "its inputs are not recorded (by an earlier version, or too many for a tag)"
        return link
    names = _file_names(record)
    for name, of_input in _in_order(record.inputs):
        before = _link(records, name, of_input, seen)
        before.about = ": ".join(part for part in (names.get(name, ""), before.about) if part)
        link.links.append(before)
    return link


def _not_found(records: Records) -> str:
    missing = f"no finished stage of that digest or path in {records.store}"
    if not records.unasked:
        return f"{missing}, and no run of it in MLflow"
    return f"{missing}; more is not known, as this could not be asked: {'; '.join(records.unasked)}"


def _came_of(records: Records, start: Record) -> list[Link]:
    """Stages, in the order in which they were made, then versions."""
    found, ahead = {start.digest: start}, [start]
    while ahead:
        for near in records.made_from(ahead.pop()):
            if near.digest not in found:
                found[near.digest] = near
                ahead.append(near)
    del found[start.digest]
    weights = {digest for record in [start, *found.values()] for digest in record.files.values()}
    order = list(KINDS)
    made = sorted(found.values(), key=lambda record: (record.created, order.index(record.stage)))
    return [
        *(_stage_link(records, "stage", near.digest, near) for near in made),
        *(_version_link(one) for one in records.versions if one.tags.get(CHECKPOINT_TAG) in weights),
    ]


def _stage_link(records: Records, role: str, digest: str, record: Record) -> Link:
    about, run = _describe(record), records.run_of(record)
    return Link(role, digest, record.stage, record.digest, about, record.code, record.created, record.where, run)


def _version_link(version: ModelVersion) -> Link:
    named = ", ".join([version_uri(version), *(f"@{alias}" for alias in version.aliases)])
    registered = datetime.fromtimestamp(version.creation_timestamp / 1000, UTC)
    flip = {"True": "with", "False": "without"}.get(version.tags.get(FLIP_TAG, ""))
    about = f"{named}{f', answers {flip} flip averaging' if flip else ''}"
    digest = version.tags.get(CHECKPOINT_TAG, "")
    return Link("version", digest, "version", about=about, created=f"{registered:%Y-%m-%dT%H:%M:%SZ}")


def _describe(record: Record) -> str:
    """What the stage came to, from its manifest's counts."""
    if record.manifest is None:
        return ""
    counts, statistics = record.manifest["counts"], record.manifest["statistics"]
    match record.stage:
        case "synthesise":
            return "synthetic motion: nobody moved like this"
        case "ingest":
            return f"{counts['clips']:,} clips of {len(statistics['groups']):,} groups, {counts['frames']:,} frames"
        case "keypoints":
            return f"{counts['tracks']:,} tracks, {counts['frames']:,} frames, {counts['short_tracks']:,} short ones"
        case "lift":
            return f"{counts['people']:,} people, {counts['frames']:,} frames"
        case "convert":
            windows = " / ".join(f"{number:,}" for number in counts["windows"].values())
            groups = " / ".join(str(len(names)) for names in statistics["groups"].values())
            return f"{windows} windows of {groups} groups (train / val / test)"
        case "pretrain" | "finetune":
            epoch = f"epoch {statistics['best_epoch']} of {counts['epochs']}"
            return f"{epoch}, validation {statistics['val_mpjpe_mm']:.1f} mm"
        case "evaluate":
            return f"{counts['windows']:,} windows, MPJPE {statistics['metrics']['model']['mpjpe_mm']:.1f} mm"
    return ""


def _file_names(record: Record) -> dict[str, str]:
    """Names of the files that an ingest read, by input."""
    files = (record.manifest or {}).get("statistics", {}).get("files", []) if record.stage == "ingest" else []
    numbered = [("" if place == 1 else f"_{place}", file) for place, file in enumerate(files, start=1)]
    names = {f"source{number}": file["file"] for number, file in numbered}
    return names | {f"clip_list{number}": file["clip_list"] for number, file in numbered if file.get("clip_list")}


def _in_order(inputs: dict[str, str]) -> list[tuple[str, str]]:
    """What is furthest from the data first, so that windows stand below the run that saw them first."""
    rank = {"checkpoint": 0, "pretrained": 1, "baselines": 2}
    return sorted(inputs.items(), key=lambda entry: rank.get(entry[0], 3))
