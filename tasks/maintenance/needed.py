"""Mark of the garbage collection: the items of a store and its MLflow that are needed.

Each item has a name: the digest of a stage, the SHA-256 of a file, the id of a run, or the URI of a version. A needed
item needs all items that it links to.
"""

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run

from data_contracts.errors import InputError, some
from data_contracts.store.digests import PIPELINE
from data_contracts.store.lineage import FinishedStages
from data_contracts.store.locks import lock_owner
from data_contracts.store.sequence import manifest_sequence
from tasks.maintenance.files import LOCK, digest_in, hidden_names
from tasks.promotion.comparison import named_benchmark
from tasks.tracking import names
from tasks.tracking.registry import model_versions, version_uri

_BY_HAND = ("keypoints", "lift", "score")  # stages outside a pipeline run, of which the last results are kept
_IMPORTED = "benchmark"  # stage whose results only the user removes
_OF_STAGE = re.compile(r"uplift\.\w+\.(digest|run)")  # tags of a pipeline run


class Inventory:
    """Contents of a store and its MLflow, the newest first. `locked`: digest or run id -> process that works on it."""

    def __init__(self, store: Path, client: MlflowClient) -> None:
        experiment = client.get_experiment_by_name(names.EXPERIMENT)
        if experiment is None:
            raise InputError(
                f"MLflow at {client.tracking_uri} has no experiment {names.EXPERIMENT}: set MLFLOW_TRACKING_URI as for"
                " the pipeline runs; gc removes nothing"
            )
        ids, own = [experiment.experiment_id], f"tags.`{names.STORE_TAG}` = '{names.store_id(store)}'"
        runs = _pages(lambda token: client.search_runs(ids, own, max_results=1000, page_token=token))
        self.runs: list[Run] = sorted(runs, key=_sequence_of, reverse=True)
        self.stages = FinishedStages(store)
        self._refuse_unknown_inputs(store, client)
        self.manifests = sorted(self.stages.manifests.values(), key=manifest_sequence, reverse=True)
        self.models = list(_pages(lambda token: client.search_logged_models(ids, page_token=token)))
        self.versions = model_versions(client)
        own_runs = {run.info.run_id for run in self.runs}
        self.own_versions = [one for one in self.versions if one.run_id in own_runs]  # others are of other stores
        self.benchmark = named_benchmark(client)
        locks = {digest_in(path): lock_owner(path) for path in hidden_names(store, LOCK)}
        self.locked = {digest: owner for digest, owner in locks.items() if owner}

    @property
    def pipelines(self) -> list[Run]:
        """Pipeline runs that finished."""
        return [run for run in self.runs if _stage_of(run) == PIPELINE and run.info.status == "FINISHED"]

    def since(self, keep_last: int) -> int:
        """Return the sequence number from which gc keeps everything: that of the oldest kept pipeline run.

        The number is 0 if the store has fewer than `keep_last` pipeline runs, or if a process works in it.
        """
        if self.locked or len(self.pipelines) < keep_last:
            return 0
        return _sequence_of(self.pipelines[keep_last - 1])

    def _refuse_unknown_inputs(self, store: Path, client: MlflowClient) -> None:
        if self.stages.damaged:
            raise InputError(
                f"{some([str(folder) for folder in self.stages.damaged])}: damaged manifest, so gc removes nothing."
                " Remove this folder and run gc again; its result is computed again when needed"
            )
        if self.stages.manifests and not self.runs:
            raise InputError(
                f"MLflow at {client.tracking_uri} has no run of {store} (id {names.store_id(store)}), which has"
                f" {len(self.stages.manifests)} finished folders: set MLFLOW_TRACKING_URI as for the pipeline runs; gc"
                " removes nothing"
            )


def mark(inventory: Inventory, keep_last: int) -> set[str]:
    """Return the names of all needed items.

    Needed without a link are: everything since the oldest of the last `keep_last` pipeline runs, the last `keep_last`
    versions, keypoints, motions and benchmark scores, all versions with an alias, imported benchmarks, and the windows
    of promotion.
    """
    since, manifests = inventory.since(keep_last), inventory.manifests
    # if the store has no pipeline run yet, only the last results of these stages are kept
    ignored = () if inventory.pipelines or inventory.locked else _BY_HAND
    roots = {inventory.benchmark or "", *(one["digest"] for one in manifests if one["stage"] == _IMPORTED)}
    roots |= {one["digest"] for one in manifests if manifest_sequence(one) >= since and one["stage"] not in ignored}
    roots |= {one.info.run_id for one in inventory.runs if _sequence_of(one) >= since and _stage_of(one) not in ignored}
    for stage in _BY_HAND:
        roots.update([one["digest"] for one in manifests if one["stage"] == stage][:keep_last])
    roots |= {version_uri(one) for one in inventory.versions if one.aliases}
    roots |= {version_uri(one) for one in inventory.own_versions[:keep_last]}
    return _reach(inventory, roots)


def _reach(inventory: Inventory, roots: set[str]) -> set[str]:
    """Return `roots` and all items that they need; a report is needed if its weights and its windows are needed."""
    links = _links(inventory)
    reports = [manifest for manifest in inventory.manifests if manifest["stage"] == "evaluate"]
    needed, ahead = set[str](), roots
    while ahead:
        needed |= ahead
        ahead = set[str]().union(*(links[name] for name in ahead if name))
        for report in reports:
            if {report["inputs"]["windows"], report["inputs"]["checkpoint"]} <= needed:
                ahead.add(report["digest"])
        ahead -= needed
    return needed


def _links(inventory: Inventory) -> defaultdict[str, set[str]]:
    """Return name -> names of the items that the item needs."""
    links = defaultdict[str, set[str]](set)
    for manifest in inventory.manifests:
        digest, stage, inputs = manifest["digest"], manifest["stage"], manifest["inputs"]
        links[digest].update(manifest["files"].values(), _inputs(inventory, stage, inputs))
        if stage == "baselines":
            links[inputs["windows"]].add(digest)
    for run in inventory.runs:
        run_id, tags, stage = run.info.run_id, run.data.tags, _stage_of(run)
        links[run_id].update(_inputs(inventory, stage, json.loads(tags.get(names.INPUTS_TAG, "{}"))))
        if stage == PIPELINE:
            links[run_id].update(value for key, value in tags.items() if _OF_STAGE.fullmatch(key))
        elif digest := tags.get(names.DIGEST_TAG):
            links[run_id].add(digest)
            links[digest].add(run_id)
        for number in tags.get(names.PROMOTION_TAG, "").split("-"):  # a decision about these versions
            links[f"models:/{names.MODEL_NAME}/{number}"].add(run_id)
    for version in inventory.versions:
        uri, weights = version_uri(version), version.tags.get(names.CHECKPOINT_TAG, "")
        of_version = {"checkpoint": weights, "windows": version.tags.get(names.WINDOWS_TAG, "")}
        links[uri].update([str(version.run_id)], _inputs(inventory, "evaluate", of_version))
        links[weights].add(uri)
        links[str(version.run_id)].add(uri)
    return links


def _inputs(inventory: Inventory, stage: str, inputs: dict[str, str]) -> set[str]:
    """Return the inputs of a stage and the stages that wrote them; motions and scores do not need their model."""
    needed = {digest for name, digest in inputs.items() if stage not in ("lift", "score") or name != "checkpoint"}
    return needed | {manifest["digest"] for manifest in map(inventory.stages.find, needed) if manifest}


def _stage_of(run: Run) -> str:
    return str(run.data.tags.get(names.STAGE_TAG, ""))


def _sequence_of(run: Run) -> int:
    """Return the sequence number of a run; for a run of an earlier version, the time at which it started."""
    return int(run.data.tags.get(names.SEQUENCE_TAG) or run.info.start_time)


def _pages(search: Callable[[str | None], Any]) -> Iterator[Any]:
    """Yield the results of all pages of a search in MLflow."""
    page = search(None)
    yield from page
    while page.token:
        page = search(page.token)
        yield from page
