"""Contents of a store and its MLflow, and the part of them that gc keeps."""

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import LoggedModel, Run
from mlflow.entities.model_registry import ModelVersion

from data_contracts.errors import InputError
from data_contracts.store.digests import KINDS, PIPELINE
from data_contracts.store.locks import lock_owner
from data_contracts.store.manifests import read_manifest
from data_contracts.store.sequence import manifest_sequence
from tasks.maintenance.files import LOCK, digest_in, hidden_names
from tasks.promotion.benchmark import named_benchmark
from tasks.tracking.names import (
    CHECKPOINT_TAG,
    DIGEST_TAG,
    EXPERIMENT,
    INPUTS_TAG,
    PROMOTION_TAG,
    SEQUENCE_TAG,
    STAGE_TAG,
    STORE_TAG,
    WINDOWS_TAG,
    store_id,
)
from tasks.tracking.registry import model_versions

LIFTED = {"keypoints": "keypoints", "lift": "motions"}  # stage -> kind of folder
_STAYS_WITH = {"reports": ("windows", "checkpoint"), "baselines": ("windows",)}  # kind -> inputs
_OF_VERSION = (CHECKPOINT_TAG, WINDOWS_TAG)
_STAGE_DIGEST, _STAGE_RUN = re.compile(r"uplift\.\w+\.digest"), re.compile(r"uplift\.\w+\.run")  # of a pipeline run


@dataclass(frozen=True, eq=False)
class Folder:
    """A finished stage folder. `names`: its digest and those of its files. `inputs` is None unless they are known."""

    path: Path
    kind: str
    digest: str
    sequence: float
    inputs: dict[str, str] | None
    names: frozenset[str]


@dataclass(frozen=True)
class Inventory:
    """Contents of a store and its MLflow, newest first. `locked`: digests and run ids whose lock a process holds."""

    folders: list[Folder]
    runs: list[Run]
    models: list[LoggedModel]
    versions: list[ModelVersion]
    benchmark: str | None
    locked: frozenset[str]

    @cached_property
    def pipelines(self) -> list[Run]:
        """Pipeline runs that finished."""
        return [run for run in self.runs if stage_of(run) == PIPELINE and run.info.status == "FINISHED"]

    def since(self, keep_last: int) -> int:
        """Return the sequence number of the oldest kept pipeline run; 0 if there are fewer than `keep_last`."""
        return sequence_of(self.pipelines[keep_last - 1]) if len(self.pipelines) >= keep_last else 0


@dataclass(frozen=True)
class Needed:
    """`unknown_work`: a process holds a lock and its inputs are not recorded yet, so that all folders are needed."""

    digests: set[str]
    runs: set[str]
    versions: set[str]
    unknown_work: bool


def read_inventory(store: Path, client: MlflowClient) -> Inventory:
    """Read the folders of a store, its runs in MLflow, the versions, and the locks that processes hold.

    Raises
    ------
    InputError
        MLflow is not the one that has the runs of the store.
    MlflowException, SQLAlchemyError
        MLflow cannot be read.
    """
    experiment = client.get_experiment_by_name(EXPERIMENT)
    if experiment is None:
        raise InputError(f"MLflow at {client.tracking_uri} has no experiment {EXPERIMENT}: gc removes nothing")
    ids, own = [experiment.experiment_id], f"tags.`{STORE_TAG}` = '{store_id(store)}'"
    runs = list(pages(lambda token: client.search_runs(ids, own, max_results=1000, page_token=token)))
    folders = list(_folders(store, runs))
    if folders and not runs:
        raise InputError(
            f"MLflow at {client.tracking_uri} has no run of {store} (id {store_id(store)}), which has {len(folders)}"
            " finished folders: set MLFLOW_TRACKING_URI as for the pipeline runs; gc removes nothing"
        )
    return Inventory(
        sorted(folders, key=lambda folder: -folder.sequence),
        sorted(runs, key=sequence_of, reverse=True),
        list(pages(lambda token: client.search_logged_models(ids, page_token=token))),
        model_versions(client),
        named_benchmark(client),
        frozenset(digest_in(path) for path in hidden_names(store, LOCK) if lock_owner(path)),
    )


def pages(search: Callable[[str | None], Any]) -> Iterator[Any]:
    """Yield the results of all pages of a search in MLflow."""
    page = search(None)
    yield from page
    while page.token:
        page = search(page.token)
        yield from page


def _folders(store: Path, runs: list[Run]) -> Iterator[Folder]:
    """Yield the finished folders. The inputs of one whose manifest is damaged come from its run."""
    for kind in dict.fromkeys(KINDS.values()):
        for path in filter(Path.is_dir, (store / kind).glob("[!.]*")):
            try:
                manifest = read_manifest(path)
            except InputError:
                known = (inputs_of(run) for run in runs if run.data.tags.get(DIGEST_TAG) == path.name)
                inputs = next((one for one in known if one is not None), None)
                yield Folder(path, kind, path.name, float("inf"), inputs, frozenset({path.name}))
                continue
            names = frozenset({manifest["digest"], *manifest["files"].values()})
            yield Folder(path, kind, manifest["digest"], manifest_sequence(manifest), manifest["inputs"], names)


def stage_of(run: Run) -> str:
    """Return the stage of a run."""
    return str(run.data.tags.get(STAGE_TAG, ""))


def sequence_of(run: Run) -> int:
    """Return the sequence number of a run; for a run of an earlier version, the time at which it started."""
    return int(run.data.tags.get(SEQUENCE_TAG) or run.info.start_time)


def inputs_of(run: Run) -> dict[str, str] | None:
    """Return the digests of the inputs of a run, or None without a record of them."""
    tag = run.data.tags.get(INPUTS_TAG)
    return None if tag is None else dict(json.loads(tag))


def mark(inventory: Inventory, keep_last: int, resumable: Iterable[str]) -> Needed:
    """Return the needed items. `resumable`: digests of the trainings that a partial folder can resume.

    Raises
    ------
    InputError
        The inputs of a needed folder are not known.
    """
    since, lifts_only = inventory.since(keep_last), not inventory.pipelines
    ignored = LIFTED if lifts_only else ()
    recent = [run for run in inventory.runs if sequence_of(run) >= since and stage_of(run) not in ignored]
    busy = [run for run in inventory.runs if {run.info.run_id, run.data.tags.get(DIGEST_TAG)} & inventory.locked]
    edges = _edges(inventory)
    at_work, unknown = _at_work(inventory, busy, edges)
    roots = {*at_work, *resumable, inventory.benchmark or ""}.union(*map(_digests_of, recent))
    young = [folder for folder in inventory.folders if folder.sequence >= since]
    roots |= {folder.digest for folder in young if not (lifts_only and folder.kind in LIFTED.values())}
    for kind in LIFTED.values():
        roots |= {folder.digest for folder in [one for one in inventory.folders if one.kind == kind][:keep_last]}
    runs = {run.info.run_id for run in (*recent, *busy)}
    runs |= {value for run in recent for key, value in run.data.tags.items() if _STAGE_RUN.fullmatch(key)}
    digests, versions = _reach(inventory, edges, roots, keep_last, runs)
    for folder in inventory.folders:
        if folder.digest in digests and folder.inputs is None:
            raise InputError(
                f"{folder.path}: gc removes nothing, because this folder is needed, its manifest is damaged and its"
                " inputs are not known; remove the folder, and its stage computes it again"
            )
    numbers = {str(version.version) for version in versions}
    runs |= {str(version.run_id) for version in versions}
    for run in inventory.runs:
        of_stage = stage_of(run) != PIPELINE and run.data.tags.get(DIGEST_TAG) in digests - {""}
        if of_stage or numbers & set(run.data.tags.get(PROMOTION_TAG, "").split("-")):
            runs.add(run.info.run_id)
    return Needed(digests, runs, numbers, unknown)


def _reach(
    inventory: Inventory, edges: dict[str, set[str]], roots: set[str], keep_last: int, recent: set[str]
) -> tuple[set[str], list[ModelVersion]]:
    """Follow inputs from the roots; add versions of needed weights, and reports and baselines of needed windows."""
    own_runs = {run.info.run_id for run in inventory.runs}
    versions = inventory.versions
    last = [version.version for version in versions if version.run_id in own_runs][:keep_last]
    kept = {version.version for version in versions if version.aliases or version.run_id in recent} | {*last}
    while True:
        digests = _closure(edges, roots)
        names = digests.union(*(folder.names for folder in inventory.folders if folder.digest in digests))
        kept |= {one.version for one in versions if one.run_id in own_runs and one.tags.get(CHECKPOINT_TAG) in names}
        roots = {one.tags.get(tag, "") for one in versions if one.version in kept for tag in _OF_VERSION} | digests
        for folder in inventory.folders:
            inputs = _STAYS_WITH.get(folder.kind)
            if inputs and all((folder.inputs or {}).get(name) in names for name in inputs):
                roots.add(folder.digest)
        if roots <= digests:
            return digests, [one for one in versions if one.version in kept or one.run_id not in own_runs]


def _closure(edges: dict[str, set[str]], roots: set[str]) -> set[str]:
    """Return the digests, and all digests that they were made from."""
    reached, ahead = set[str](), roots - {""}
    while ahead:
        reached |= ahead
        ahead = set().union(*(edges.get(digest, ()) for digest in ahead)) - reached - {""}
    return reached


def _edges(inventory: Inventory) -> dict[str, set[str]]:
    """Return digest -> digests that it was made from; from MLflow if the store does not have the folder."""
    edges: dict[str, set[str]] = defaultdict(set)
    for folder in inventory.folders:
        for name in folder.names:
            edges[name] |= {folder.digest, *_needed_inputs(folder.kind, folder.inputs)}
    in_store = set(edges)
    for run in inventory.runs:
        digest = run.data.tags.get(DIGEST_TAG, "")
        for name in {digest, run.data.tags.get(CHECKPOINT_TAG, "")} - in_store:
            if stage_of(run) != PIPELINE:
                edges[name] |= {digest, *_needed_inputs(LIFTED.get(stage_of(run), ""), inputs_of(run))}
    return edges


def _needed_inputs(kind: str, inputs: dict[str, str] | None) -> set[str]:
    """Return the input digests; a motion does not need the model that lifted it."""
    return {digest for name, digest in (inputs or {}).items() if kind != "motions" or name != "checkpoint"}


def _digests_of(run: Run) -> set[str]:
    """Return the digests of a run: its own, its inputs, and for a pipeline run those of its stages."""
    tags, stage = run.data.tags, stage_of(run)
    stages = {value for key, value in tags.items() if _STAGE_DIGEST.fullmatch(key)}
    own = {tags.get(DIGEST_TAG, "")} if stage != PIPELINE else set()
    return own | stages | _needed_inputs(LIFTED.get(stage, ""), inputs_of(run))


def _at_work(inventory: Inventory, busy: list[Run], edges: dict[str, set[str]]) -> tuple[set[str], bool]:
    """Return the digests that processes at work may read, and whether the inputs of one process are not known yet."""
    known = [run for run in busy if inputs_of(run) is not None]
    unknown = inventory.locked - {name for run in known for name in (run.info.run_id, run.data.tags.get(DIGEST_TAG))}
    if unknown:
        return {folder.digest for folder in inventory.folders}, True
    digests = set[str]().union(*(_digests_of(run) | {*(inputs_of(run) or {}).values()} for run in known))
    sources = {value for run in known if stage_of(run) == PIPELINE for value in (inputs_of(run) or {}).values()}
    return digests | {one.digest for one in inventory.folders if _closure(edges, {one.digest}) & sources}, False
