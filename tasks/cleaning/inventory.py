"""What there is: finished folders of a store, its runs in MLflow, the versions of the registered model, who is at work.

Notable decisions:
- all of it is asked, or `InputError` is raised: what could not be asked must not pass for "there is none";
- several stores may share one MLflow: runs are those that bear this store's id, and a version or LoggedModel is the
  store's whose run made it;
- a folder whose manifest is damaged is there, and what it was made from may still be known from its run.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import LoggedModel, Run, ViewType
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from data_contracts.errors import InputError
from data_contracts.run_names import PIPELINE
from data_contracts.store.digests import KINDS
from data_contracts.store.locks import holder
from data_contracts.store.manifests import read_manifest
from data_contracts.store.removal import locks
from tasks.mlflow_runs.names import DIGEST_TAG, EXPERIMENT, ID_FILE, INPUTS_TAG, STAGE_TAG, STORE_TAG, store_id
from tasks.mlflow_runs.registry import model_versions
from tasks.mlflow_runs.removal import REMOVING_TAG
from tasks.mlflow_runs.runs import connect, named_uri
from tasks.promotion.benchmark import named_benchmark

_PAGE = 1000


@dataclass(frozen=True, eq=False)  # each is itself: sets of them need no hash of what they hold
class Folder:
    """A finished stage folder. `left`: digests by which others may name it; `inputs`: none where nobody knows them."""

    path: Path
    kind: str
    digest: str
    created: float
    inputs: dict[str, str] | None
    left: frozenset[str]


@dataclass(frozen=True)
class Inventory:
    """Of a store. `runs` the newest first; `removing`: runs whose removal was begun and not ended.

    held: digests of stages, and ids of pipelines' runs, whose lock a process holds.
    """

    folders: tuple[Folder, ...]
    runs: tuple[Run, ...]
    removing: tuple[Run, ...]
    models: tuple[LoggedModel, ...]
    versions: tuple[ModelVersion, ...]
    benchmark: str | None
    held: frozenset[str]

    @cached_property
    def nights(self) -> list[Run]:
        """Pipeline runs that finished, the newest first."""
        return [run for run in self.runs if stage_of(run) == PIPELINE and run.info.status == "FINISHED"]


def client_of(store: Path) -> MlflowClient:
    """The MLflow that the store is tracked in.

    Raises
    ------
    InputError
        There is none, or it cannot be reached.
    """
    if named_uri() is None and not (store / "mlflow.db").exists():
        raise InputError(
            f"{store}: has no MLflow database, and MLFLOW_TRACKING_URI names none: what is needed cannot be asked, so"
            " nothing is removed"
        )
    try:
        return connect(store)
    except MlflowException as error:
        raise _not_asked(error) from error


def take_inventory(store: Path, client: MlflowClient) -> Inventory:
    """All of it, at one moment.

    Raises
    ------
    InputError
        MLflow could not be asked, or is another than the one in which the store's runs are.
    """
    held = frozenset(path.name.removeprefix(".").removesuffix(".lock") for path in locks(store) if holder(path))
    try:
        experiment = client.get_experiment_by_name(EXPERIMENT)
        if experiment is None:
            raise InputError(f"MLflow has no experiment {EXPERIMENT}: nothing is removed")
        own = f"tags.`{STORE_TAG}` = '{store_id(store)}'"
        runs = tuple(_runs(client, experiment.experiment_id, own, ViewType.ACTIVE_ONLY))
        begun = f"{own} and tags.`{REMOVING_TAG}` LIKE '%'"
        removing = tuple(_runs(client, experiment.experiment_id, begun, ViewType.DELETED_ONLY))
        models = tuple(_models(client, experiment.experiment_id))
        versions, benchmark = tuple(model_versions(client)), named_benchmark(client)
    except MlflowException as error:
        raise _not_asked(error) from error
    folders = tuple(_folders(store, runs))
    if folders and not runs:
        raise InputError(
            f"MLflow at {client.tracking_uri} knows no run of {store} (id {store_id(store)} in {ID_FILE}), which has"
            f" {len(folders)} finished folders: set MLFLOW_TRACKING_URI as it is for the nights; nothing is removed"
        )
    return Inventory(folders, runs, removing, models, versions, benchmark, held)


def stage_of(run: Run) -> str:
    """The stage that a run is of."""
    return str(run.data.tags.get(STAGE_TAG, ""))


def started(run: Run) -> float:
    """Seconds since 1970."""
    return float(run.info.start_time) / 1000


def inputs_of(run: Run) -> dict[str, str] | None:
    """What a run started from, by digest; none where its tag does not say."""
    tag = run.data.tags.get(INPUTS_TAG)
    return None if tag is None else dict(json.loads(tag))


def _folders(store: Path, runs: tuple[Run, ...]) -> Iterator[Folder]:
    for kind in dict.fromkeys(KINDS.values()):
        for path in sorted((store / kind).glob("[!.]*")):
            if not path.is_dir():
                continue
            try:
                manifest = read_manifest(path)
            except InputError:
                of_runs = [inputs_of(run) for run in runs if run.data.tags.get(DIGEST_TAG) == path.name]
                known = next((inputs for inputs in of_runs if inputs is not None), None)
                yield Folder(path, kind, path.name, float("inf"), known, frozenset({path.name}))
                continue
            created = datetime.fromisoformat(manifest["created"]).timestamp() + 1  # within the second that it names
            left = frozenset({manifest["digest"], *manifest["files"].values()})
            yield Folder(path, kind, manifest["digest"], created, manifest["inputs"], left)


def _runs(client: MlflowClient, experiment: str, wanted: str, view: int) -> Iterator[Run]:
    token = None
    while True:
        page = client.search_runs([experiment], wanted, view, _PAGE, ["start_time DESC"], token)
        yield from page
        token = page.token
        if not token:
            return


def _models(client: MlflowClient, experiment: str) -> Iterator[LoggedModel]:
    token = None
    while True:
        page = client.search_logged_models([experiment], page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _not_asked(error: MlflowException) -> InputError:
    return InputError(f"MLflow could not be asked what is needed, so nothing is removed: {error!s:.300}")
