"""Lineage: the chain from a model version or a stage back to the input files, and the results made from a stage.

Each link has its role in the result (`pretrained`, `windows`, `source`) and is followed by digest. A link without a
record is an input file, or it has the reason in `unknown`: it was not found, or MLflow did not answer.
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

_INPUT_FILE = re.compile(r"(source|clip_list)(_\d+)?")  # inputs of a stage that can be files of the user
AS_ABOVE = "as above"  # the chain has this link already


@dataclass
class Link:
    """One step of a chain, with the links to its inputs.

    Attributes
    ----------
    role
        Name of the input in the stage that read it.
    digest
        Digest of the stage, or SHA-256 of the file (weights, motion), as that stage recorded it.
    about
        Description for people.
    unknown
        Reason why the inputs of this link are not known, else None.
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
    unknown: str | None = None
    links: list["Link"] = field(default_factory=list)

    def find(self, stage: str) -> "Link | None":
        """Return the nearest link of a stage: this one, or one in its inputs."""
        if self.stage == stage:
            return self
        return next((match for link in self.links if (match := link.find(stage))), None)


@dataclass
class Lineage:
    """The chain of a reference, the stages and versions made from it, and the sources that could not be read."""

    chain: Link
    came_of_it: list[Link]
    unasked: list[str]


def trace(store: Path, reference: str) -> Lineage:
    """Return the lineage of a model version (`models:/...`), a stage (digest or folder) or a file.

    Raises
    ------
    InputError
        The version or stage does not exist.
    MlflowException
        The reference is a version, and the registry did not answer.
    """
    records = Records(store)
    if reference.startswith("models:/"):
        version = find_version(connect(store), reference)
        return Lineage(of_version(records, version), [], records.errors)
    record, digest = _find(records, reference)
    chain = _link(records, "asked for", digest, set(), record)
    start = record or Record("file", digest, "", {}, reference, {})
    return Lineage(chain, _made_from(records, start), records.errors)


def of_version(records: Records, version: ModelVersion) -> Link:
    """Return the chain of a version: its weights, and the windows that it was evaluated on."""
    digest, seen = version.tags.get(CHECKPOINT_TAG, ""), set[str]()
    link = _version_link(version)
    link.links.append(_link(records, "weights", digest, seen))
    if scored := version.tags.get(WINDOWS_TAG):
        link.links.append(_link(records, "scored on", scored, seen))
    return link


def _find(records: Records, reference: str) -> tuple[Record | None, str]:
    """Return the record and digest of a stage, or None and the digest of a file that no stage wrote."""
    path = Path(reference)
    if path.is_file():
        digest = file_digest(path)
        return records.of_file(digest), digest
    try:
        record = of_folder(resolve(records.store, "*", reference))
    except InputError:
        recorded = records.of_digest(reference) or records.of_file(reference)
        if recorded is None:
            raise InputError(f"{reference}: {_not_found(records)}") from None
        record = recorded
    return record, record.digest


def _link(records: Records, role: str, digest: str, seen: set[str], record: Record | None = None) -> Link:
    is_input_file = _INPUT_FILE.fullmatch(role) is not None
    is_file = is_input_file or role in ("weights", "pretrained", "checkpoint") or record is not None
    record = record or (records.of_file(digest) if is_file else records.of_digest(digest))
    if record is None:
        if is_input_file:
            return Link(role, digest, about="an input file")
        return Link(role, digest, unknown=_not_found(records))
    link = _stage_link(records, role, digest, record)
    if record.digest in seen:
        link.unknown = AS_ABOVE
        return link
    seen.add(record.digest)
    if record.inputs is None:
        link.unknown = "its inputs are not recorded (an earlier version wrote it, or they are too many for a tag)"
        return link
    names = _file_names(record)
    for name, of_input in _in_order(record.inputs):
        source = _link(records, name, of_input, seen)
        source.about = ": ".join(part for part in (names.get(name, ""), source.about) if part)
        link.links.append(source)
    return link


def _not_found(records: Records) -> str:
    missing = f"no finished stage with this digest or path in {records.store}"
    if not records.errors:
        return f"{missing}, and no run with it in MLflow"
    return f"{missing}; not all sources could be read: {'; '.join(records.errors)}"


def _made_from(records: Records, start: Record) -> list[Link]:
    """Return the stages that were made from a record, in order of creation, and then the versions."""
    reached, ahead = {start.digest: start}, [start]
    while ahead:
        for record in records.made_from(ahead.pop()):
            if record.digest not in reached:
                reached[record.digest] = record
                ahead.append(record)
    del reached[start.digest]
    weights = {digest for record in [start, *reached.values()] for digest in record.files.values()}
    order = list(KINDS)
    made = sorted(reached.values(), key=lambda record: (record.created, order.index(record.stage)))
    return [
        *(_stage_link(records, "stage", record.digest, record) for record in made),
        *(_version_link(one) for one in records.versions if one.tags.get(CHECKPOINT_TAG) in weights),
    ]


def _stage_link(records: Records, role: str, digest: str, record: Record) -> Link:
    about, run = _describe(record), records.run_of(record)
    return Link(role, digest, record.stage, record.digest, about, record.code, record.created, record.where, run)


def _version_link(version: ModelVersion) -> Link:
    named = ", ".join([version_uri(version), *(f"@{alias}" for alias in version.aliases)])
    registered = datetime.fromtimestamp(version.creation_timestamp / 1000, UTC)
    flip = {"True": "with", "False": "without"}.get(version.tags.get(FLIP_TAG, ""))
    about = f"{named}{f', predicts {flip} flip averaging' if flip else ''}"
    digest = version.tags.get(CHECKPOINT_TAG, "")
    return Link("version", digest, "version", about=about, created=f"{registered:%Y-%m-%dT%H:%M:%SZ}")


def _describe(record: Record) -> str:
    """Return a description of a stage's result from the counts of its manifest."""
    if record.manifest is None:
        return ""
    counts, statistics = record.manifest["counts"], record.manifest["statistics"]
    match record.stage:
        case "synthesise":
            return "synthetic motion"
        case "ingest":
            return f"{counts['clips']:,} clips of {len(statistics['groups']):,} groups, {counts['frames']:,} frames"
        case "keypoints":
            return f"{counts['tracks']:,} tracks, {counts['frames']:,} frames, {counts['short_tracks']:,} short tracks"
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
    """Return input -> name of the file, for the files that an ingest read."""
    files = (record.manifest or {}).get("statistics", {}).get("files", []) if record.stage == "ingest" else []
    numbered = [("" if place == 1 else f"_{place}", file) for place, file in enumerate(files, start=1)]
    names = {f"source{number}": file["file"] for number, file in numbered}
    return names | {f"clip_list{number}": file["clip_list"] for number, file in numbered if file.get("clip_list")}


def _in_order(inputs: dict[str, str]) -> list[tuple[str, str]]:
    """Return the inputs with checkpoints first, so that windows are listed below the run that used them first."""
    rank = {"checkpoint": 0, "pretrained": 1, "baselines": 2}
    return sorted(inputs.items(), key=lambda entry: rank.get(entry[0], 3))
