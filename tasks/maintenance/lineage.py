"""Lineage: the chain from a model version or a stage back to the input files, and the results made from a stage.

Each link has a role in the result (`pretrained`, `windows`, `source`). The digests in the manifests of the store
connect the links. MLflow adds run ids and versions.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mlflow.entities.model_registry import ModelVersion

from data_contracts.errors import InputError, some
from data_contracts.report import counts_text
from data_contracts.store.digests import file_digest
from data_contracts.store.folders import resolve
from data_contracts.store.lineage import FinishedStages, names_of
from data_contracts.store.manifests import read_manifest
from data_contracts.store.sequence import manifest_sequence
from tasks.tracking.connection import connect, mlflow_errors, tracking_client
from tasks.tracking.names import CHECKPOINT_TAG, WINDOWS_TAG
from tasks.tracking.registry import find_version, model_versions, uses_flip, version_uri
from tasks.tracking.runs import finished_run

AS_ABOVE = "as above"  # the chain has this link already


@dataclass
class Link:
    """One step of a chain, with the links to its inputs.

    `role` is the name of the input in the manifest of the stage that read it; `digest` is the value there (a stage's
    digest or a file's SHA-256). `about` is a description for people. `unknown` is the reason why the inputs of this
    link are not known, or None.
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

    def all(self) -> Iterator["Link"]:
        """Yield this link and, recursively, the links to its inputs; a link comes before its inputs."""
        yield self
        for link in self.links:
            yield from link.all()


@dataclass
class Lineage:
    """The chain of a reference, the stages and versions made from the reference, and messages about failed reads."""

    chain: Link
    came_of_it: list[Link]
    unasked: list[str]


def trace(store: Path, reference: str) -> Lineage:
    """Return the lineage of a model version (`models:/...`), a stage (digest, folder or `shipped`) or a file.

    An unknown reference raises an InputError; failed reads of MLflow or manifests are listed in `Lineage.unasked`.
    """
    stages, seen = FinishedStages(store, Path(reference)), set[str]()
    if reference.startswith("models:/"):
        version = find_version(connect(store), reference)
        chain = _version_link(version)
        chain.links.append(_link(stages, "weights", chain.digest, seen))
        if WINDOWS_TAG in version.tags:
            chain.links.append(_link(stages, "scored on", version.tags[WINDOWS_TAG], seen))
        lineage = Lineage(chain, [], [])
    else:
        digest = _digest_of(stages, reference)
        lineage = Lineage(_link(stages, "asked for", digest, seen), _made_from(stages, digest), [])
    if stages.damaged:
        lineage.unasked.append(f"folders with a damaged manifest: {some([folder.name for folder in stages.damaged])}")
    try:
        _add_from_mlflow(stages, lineage)
    except InputError as error:
        lineage.unasked.append(f"MLflow: {error}")
    return lineage


def _digest_of(stages: FinishedStages, reference: str) -> str:
    """Return the digest of a stage, or the SHA-256 of a file."""
    if Path(reference).is_file():
        return file_digest(Path(reference))
    try:
        return str(read_manifest(resolve(stages.store, "*", reference))["digest"])
    except InputError:
        raise InputError(f"{reference}: {stages.missing}") from None


def _link(stages: FinishedStages, role: str, digest: str, seen: set[str], file: str = "") -> Link:
    """Return the link to a stage or to the input `file`; a stage in `seen` is not followed again."""
    manifest = stages.find(digest)
    if manifest is None:
        if role.startswith(("source", "clip_list", "body_model", "real_video")):
            return Link(role, digest, about=f"{file}: an input file" if file else "an input file")
        return Link(role, digest, unknown=stages.missing)
    link = _stage_link(stages, role, digest, manifest)
    link.about = f"{file}: {link.about}" if file else link.about
    if manifest["digest"] in seen:
        link.unknown = AS_ABOVE
        return link
    seen.add(manifest["digest"])
    files: dict[str, str] = {}
    for place, read in enumerate(manifest["statistics"].get("files", []), start=1):
        number = "" if place == 1 else f"_{place}"
        files |= {f"source{number}": read["file"], f"clip_list{number}": read.get("clip_list") or ""}
    for name, of_input in sorted(manifest["inputs"].items()):
        link.links.append(_link(stages, name, of_input, seen, files.get(name, "")))
    return link


def _made_from(stages: FinishedStages, digest: str) -> list[Link]:
    """Return the stages that were made, also indirectly, from a stage or file, in order of creation."""
    manifests, start = list(stages.manifests.values()), stages.find(digest)
    reached, made = {digest, *(names_of(start) if start else ())}, list[dict[str, Any]]()
    while ahead := [one for one in manifests if one is not start and reached & {*one["inputs"].values()}]:
        manifests = [one for one in manifests if one not in ahead]
        made += ahead
        reached = reached.union(*map(names_of, ahead))
    return [_stage_link(stages, "stage", one["digest"], one) for one in sorted(made, key=manifest_sequence)]


def _add_from_mlflow(stages: FinishedStages, lineage: Lineage) -> None:
    """Add the run of each stage, and the versions with weights of the stages that were made from the reference."""
    tracking_client(stages.store)  # refuses a store without MLflow, which `connect` would create
    with mlflow_errors():
        client, links = connect(stages.store), [*lineage.chain.all(), *lineage.came_of_it]
        for link in links:
            link.mlflow_run = finished_run(client, link.stage_digest) if link.stage_digest else None
        if lineage.chain.stage != "version":
            made = [stages.find(link.digest) for link in (lineage.chain, *lineage.came_of_it)]
            weights = {name for manifest in filter(None, made) for name in names_of(manifest)}
            versions = [one for one in model_versions(client) if one.tags.get(CHECKPOINT_TAG) in weights]
            lineage.came_of_it += map(_version_link, versions)


def _stage_link(stages: FinishedStages, role: str, digest: str, manifest: dict[str, Any]) -> Link:
    about, code = counts_text(manifest["counts"], manifest["statistics"]), manifest.get("code", {})
    where = str(stages.folder(digest))
    return Link(role, digest, manifest["stage"], manifest["digest"], about, code, manifest["created"], where)


def _version_link(version: ModelVersion) -> Link:
    named = ", ".join([version_uri(version), *(f"@{alias}" for alias in version.aliases)])
    registered = datetime.fromtimestamp(version.creation_timestamp / 1000, UTC)
    about = f"{named}, predicts {'with' if uses_flip(version) else 'without'} flip averaging"
    digest = version.tags.get(CHECKPOINT_TAG, "")
    return Link("version", digest, "version", about=about, created=f"{registered:%Y-%m-%dT%H:%M:%SZ}")
