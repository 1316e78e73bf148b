"""Mark phase of the garbage collection: the items of a store and its MLflow that are needed.

Each item has a name: the digest of a stage, the SHA-256 of a file, the id of a run, or the URI of a version. A needed
item needs all items that it links to. A needed file needs the stage that wrote the file.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run

from data_contracts.errors import InputError, some
from data_contracts.store.digests import PIPELINE
from data_contracts.store.lineage import FinishedStages
from data_contracts.store.sequence import manifest_sequence
from tasks.promotion.comparison import named_benchmark
from tasks.tracking import names
from tasks.tracking.registry import model_versions, version_uri
from tasks.tracking.runs import experiment_id


class Inventory:
    """Finished stages of a store and its runs, models and versions in MLflow, newest first; damage: an InputError."""

    def __init__(self, store: Path, client: MlflowClient) -> None:
        self.stages = FinishedStages(store)
        if self.stages.damaged:
            raise InputError(
                f"{some([str(folder) for folder in self.stages.damaged])}: damaged manifest, so gc removes nothing."
                " Remove this folder and run gc again; its result is computed again when needed"
            )
        self.manifests = sorted(self.stages.manifests.values(), key=manifest_sequence, reverse=True)
        ids, own = [experiment_id(client)], names.store_id(store)
        of_store = f"tags.`{names.STORE_TAG}` = '{own}'"
        runs = _pages(lambda token: client.search_runs(ids, of_store, max_results=1000, page_token=token))
        self.runs: list[Run] = sorted(runs, key=_sequence_of, reverse=True)
        if self.manifests and not self.runs:
            raise InputError(
                f"MLflow at {client.tracking_uri} has no run of {store} (id {own}): set MLFLOW_TRACKING_URI as for the"
                " pipeline runs; gc removes nothing"
            )
        finished = [run for run in self.runs if run.info.status == "FINISHED"]
        self.pipelines = [run for run in finished if run.data.tags.get(names.STAGE_TAG) == PIPELINE]
        self.models = list(_pages(lambda token: client.search_logged_models(ids, page_token=token)))
        self.versions = model_versions(client)
        self.benchmark = named_benchmark(client)


def mark(inventory: Inventory, keep_last: int) -> set[str]:
    """Return the names of all needed items.

    Needed without a link are everything since the oldest of the last `keep_last` pipeline runs, or all results if there
    are fewer runs; the last `keep_last` each of versions, keypoints, motions and benchmark scores; versions with an
    alias or of another store; imported benchmarks; and the benchmark windows of promotion.
    """
    manifests, runs, pipelines = inventory.manifests, inventory.runs, inventory.pipelines
    since = _sequence_of(pipelines[keep_last - 1]) if len(pipelines) >= keep_last else 0
    roots = {one["digest"] for one in manifests if one["stage"] == "benchmark" or manifest_sequence(one) >= since}
    for stage in ("keypoints", "lift", "score"):
        roots.update([one["digest"] for one in manifests if one["stage"] == stage][:keep_last])
    roots |= {run.info.run_id for run in runs if _sequence_of(run) >= since} | {inventory.benchmark or ""}
    own_runs = {run.info.run_id for run in runs}
    old = [one for one in inventory.versions if one.run_id in own_runs][keep_last:]
    roots |= {version_uri(one) for one in inventory.versions if one.aliases or one not in old}
    return _reach(inventory, roots)


def _reach(inventory: Inventory, roots: set[str]) -> set[str]:
    """Return `roots` and all items that they need; reports and baselines are needed if their inputs are needed."""
    links, stages = _links(inventory), ("evaluate", "baselines")
    reports = [(one["digest"], one["inputs"]) for one in inventory.manifests if one["stage"] in stages]
    needed, ahead = {""}, roots - {""}  # a tag that is absent links to ""
    while ahead:
        needed |= ahead
        writers = {manifest["digest"] for manifest in map(inventory.stages.find, ahead) if manifest}
        ahead = writers.union(*(links[name] for name in ahead))
        ahead |= {name for name, inputs in reports if {inputs["windows"], inputs.get("checkpoint", "")} <= needed}
        ahead -= needed
    return needed


def _links(inventory: Inventory) -> defaultdict[str, set[str]]:
    """Return name -> names of the items that the item needs; a needed stage also needs versions with its weights."""
    links = defaultdict[str, set[str]](set)
    for manifest in inventory.manifests:
        written = [digest for file, digest in manifest["files"].items() if file.endswith(".safetensors")]
        links[manifest["digest"]].update(written, manifest["inputs"].values())
    for run in inventory.runs:
        run_id, tags = run.info.run_id, run.data.tags
        links[run_id].update(json.loads(tags.get(names.INPUTS_TAG, "{}")).values())
        # a stage has one digest; a pipeline run has the digest and the MLflow run of each stage
        links[run_id].update(value for key, value in tags.items() if key.endswith((".digest", ".run")))
        if tags.get(names.STAGE_TAG) != PIPELINE:
            links[tags.get(names.DIGEST_TAG, "")].add(run_id)
        for number in tags.get(names.PROMOTION_TAG, "").split("-"):  # a decision about these versions
            links[f"models:/{names.MODEL_NAME}/{number}"].add(run_id)
    run_of = {model.model_uri: str(model.source_run_id) for model in inventory.models}
    for version in inventory.versions:
        uri, weights = version_uri(version), version.tags.get(names.CHECKPOINT_TAG, "")
        windows = version.tags.get(names.WINDOWS_TAG, "")
        links[uri] |= {weights, windows, str(version.run_id), run_of.get(str(version.source), "")}
        links[weights].add(uri)
    return links


def _sequence_of(run: Run) -> int:
    """Return the sequence number of a run; for a run of an earlier version of this project, its start time."""
    return int(run.data.tags.get(names.SEQUENCE_TAG) or run.info.start_time)


def _pages(search: Callable[[str | None], Any], token: str | None = None) -> Iterator[Any]:
    """Yield the results of all pages of a search in MLflow."""
    page = search(token)
    yield from page
    if page.token:
        yield from _pages(search, page.token)
