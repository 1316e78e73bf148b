"""Contents of a store and its MLflow, and the items that gc keeps, found from digests in manifests and runs."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import LoggedModel, Run
from mlflow.entities.model_registry import ModelVersion

from data_contracts.errors import InputError, some
from data_contracts.store.digests import PIPELINE
from data_contracts.store.lineage import FinishedStages
from data_contracts.store.locks import lock_owner
from data_contracts.store.sequence import manifest_sequence
from tasks.maintenance.files import LOCK, digest_in, hidden_names
from tasks.promotion.comparison import named_benchmark
from tasks.tracking import names
from tasks.tracking.registry import model_versions

LIFTED = ("keypoints", "lift")  # stages of the results that a user lifts
_STAYS_WITH = {"evaluate": ("windows", "checkpoint"), "baselines": ("windows",)}  # stage -> inputs
_STAGE_DIGEST, _STAGE_RUN = re.compile(r"uplift\.\w+\.digest"), re.compile(r"uplift\.\w+\.run")  # of a pipeline run


@dataclass(frozen=True)
class Inventory:
    """Contents of a store and its MLflow, newest first. `locked`: digests and run ids whose lock a process holds."""

    stages: FinishedStages
    runs: list[Run]
    models: list[LoggedModel]
    versions: list[ModelVersion]
    benchmark: str | None
    locked: frozenset[str]

    @cached_property
    def manifests(self) -> list[dict[str, Any]]:
        """Manifests of the finished stages, the newest first."""
        return sorted(self.stages.manifests.values(), key=manifest_sequence, reverse=True)

    @cached_property
    def pipelines(self) -> list[Run]:
        """Finished pipeline runs, the newest first."""
        return [run for run in self.runs if stage_of(run) == PIPELINE and run.info.status == "FINISHED"]

    def since(self, keep_last: int) -> int:
        """Return the sequence number of the oldest kept pipeline run; 0 if there are fewer than `keep_last`."""
        return sequence_of(self.pipelines[keep_last - 1]) if len(self.pipelines) >= keep_last else 0


@dataclass(frozen=True)
class Needed:
    """Items that gc keeps. If `unknown_work`, a process has no recorded inputs, and gc keeps all folders."""

    digests: set[str]
    runs: set[str]
    versions: set[str]
    unknown_work: bool


def read_inventory(store: Path, client: MlflowClient) -> Inventory:
    """Read the folders of a store, its runs in MLflow, the versions, and the locks that processes hold."""
    experiment = client.get_experiment_by_name(names.EXPERIMENT)
    if experiment is None:
        raise InputError(f"MLflow at {client.tracking_uri} has no experiment {names.EXPERIMENT}: gc removes nothing")
    ids, own = [experiment.experiment_id], f"tags.`{names.STORE_TAG}` = '{names.store_id(store)}'"
    runs = list(pages(lambda token: client.search_runs(ids, own, max_results=1000, page_token=token)))
    stages = FinishedStages(store)
    if stages.damaged:
        raise InputError(
            f"{some([str(folder) for folder in stages.damaged])}: gc removes nothing, because the manifest is damaged"
            " and the inputs are unknown. Remove the folder and run gc again; a stage that needs the result computes"
            " the result again"
        )
    if stages.manifests and not runs:
        raise InputError(
            f"MLflow at {client.tracking_uri} has no run of {store} (id {names.store_id(store)}), which has"
            f" {len(stages.manifests)} finished folders: set MLFLOW_TRACKING_URI as for the pipeline runs; gc removes"
            " nothing"
        )
    return Inventory(
        stages,
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


def stage_of(run: Run) -> str:
    """Return the stage of a run."""
    return str(run.data.tags.get(names.STAGE_TAG, ""))


def sequence_of(run: Run) -> int:
    """Return the sequence number of a run; for a run of an earlier version, the time at which it started."""
    return int(run.data.tags.get(names.SEQUENCE_TAG) or run.info.start_time)


def mark(inventory: Inventory, keep_last: int) -> Needed:
    """Return the items that the newest `keep_last` pipeline runs, versions with an alias and running processes need."""
    since, lifts_only = inventory.since(keep_last), not inventory.pipelines
    ignored = LIFTED if lifts_only else ()
    recent = [run for run in inventory.runs if sequence_of(run) >= since and stage_of(run) not in ignored]
    busy = [run for run in inventory.runs if {run.info.run_id, run.data.tags.get(names.DIGEST_TAG)} & inventory.locked]
    at_work, unknown = _at_work(inventory, busy)
    roots = {*at_work, inventory.benchmark or ""}.union(*map(_digests_of, recent))
    young = [manifest for manifest in inventory.manifests if manifest_sequence(manifest) >= since]
    roots |= {manifest["digest"] for manifest in young if manifest["stage"] not in ignored}
    for stage in LIFTED:
        lifted = [manifest["digest"] for manifest in inventory.manifests if manifest["stage"] == stage]
        roots.update(lifted[:keep_last])
    runs = {run.info.run_id for run in (*recent, *busy)}
    runs |= {value for run in recent for key, value in run.data.tags.items() if _STAGE_RUN.fullmatch(key)}
    digests, versions = _reach(inventory, roots, keep_last, runs)
    numbers = {str(version.version) for version in versions}
    runs |= {str(version.run_id) for version in versions}
    for run in inventory.runs:
        of_stage = stage_of(run) != PIPELINE and run.data.tags.get(names.DIGEST_TAG) in digests
        if of_stage or numbers & set(run.data.tags.get(names.PROMOTION_TAG, "").split("-")):
            runs.add(run.info.run_id)
    return Needed(digests, runs, numbers, unknown)


def _reach(
    inventory: Inventory, roots: set[str], keep_last: int, recent: set[str]
) -> tuple[set[str], list[ModelVersion]]:
    """Return all digests reachable from `roots` by inputs, versions, reports and baselines, and the needed versions."""
    own_runs, versions = {run.info.run_id for run in inventory.runs}, inventory.versions
    own = [version for version in versions if version.run_id in own_runs]
    kept = {version.version for version in versions if version.aliases or version.run_id in recent}
    kept |= {version.version for version in own[:keep_last]}
    while True:
        digests = _closure(inventory.stages, roots)
        reached = [manifest for manifest in inventory.manifests if manifest["digest"] in digests]
        available = digests.union(*(manifest["files"].values() for manifest in reached))
        kept |= {version.version for version in own if version.tags.get(names.CHECKPOINT_TAG) in available}
        tags = [version.tags for version in versions if version.version in kept]
        more = {one.get(tag, "") for one in tags for tag in (names.CHECKPOINT_TAG, names.WINDOWS_TAG)}
        for manifest in inventory.manifests:
            inputs = _STAYS_WITH.get(manifest["stage"])
            if inputs and all(manifest["inputs"][name] in available for name in inputs):
                more.add(manifest["digest"])
        if more - {""} <= digests:
            return digests, [
                version for version in versions if version.version in kept or version.run_id not in own_runs
            ]
        roots = digests | more


def _closure(stages: FinishedStages, roots: set[str]) -> set[str]:
    """Return the digests in `roots`, and all digests from which these were made."""
    reached, ahead = set[str](), roots - {""}
    while ahead:
        reached |= ahead
        found = [manifest for manifest in map(stages.find, ahead) if manifest]
        ahead = {name for one in found for name in (one["digest"], *_needed_inputs(one["stage"], one["inputs"]))}
        ahead -= reached
    return reached


def _needed_inputs(stage: str, inputs: dict[str, str]) -> set[str]:
    """Return the digests of needed inputs; a lifted motion does not need its model."""
    return {digest for name, digest in inputs.items() if stage != "lift" or name != "checkpoint"}


def _inputs_of(run: Run) -> dict[str, str] | None:
    """Return the digests of a run's inputs, or None if they are not recorded."""
    tag = run.data.tags.get(names.INPUTS_TAG)
    return None if tag is None else dict(json.loads(tag))


def _digests_of(run: Run) -> set[str]:
    """Return the digests of a run: its own digest, its inputs, and the stages of a pipeline run."""
    tags, stage = run.data.tags, stage_of(run)
    stages = {value for key, value in tags.items() if _STAGE_DIGEST.fullmatch(key)}
    own = {tags.get(names.DIGEST_TAG, "")} if stage != PIPELINE else set()
    return own | stages | _needed_inputs(stage, _inputs_of(run) or {})


def _at_work(inventory: Inventory, busy: list[Run]) -> tuple[set[str], bool]:
    """Return the digests that running processes may read, and whether a process has no recorded inputs yet."""
    everything = {manifest["digest"] for manifest in inventory.manifests}
    known = [run for run in busy if _inputs_of(run) is not None]
    if inventory.locked - {name for run in known for name in (run.info.run_id, run.data.tags.get(names.DIGEST_TAG))}:
        return everything, True
    digests = set[str]().union(*(_digests_of(run) | {*(_inputs_of(run) or {}).values()} for run in known))
    sources = {digest for run in known if stage_of(run) == PIPELINE for digest in (_inputs_of(run) or {}).values()}
    return digests | {digest for digest in everything if _closure(inventory.stages, {digest}) & sources}, False
