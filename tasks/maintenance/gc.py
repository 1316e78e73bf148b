"""Garbage collection (gc): remove folders, runs and models that no kept pipeline run, version or process needs.

- gc fails safe: if MLflow cannot be reached or a manifest is damaged, gc removes nothing.
- gc removes nothing outside the store: a path that leads out of it, e.g. through a symbolic link, is reported and kept.
- gc can be interrupted anywhere: a folder is renamed before its files are deleted, and the row of a run or LoggedModel
  is deleted after its files. The next gc completes an interrupted one.
"""

import logging
import shutil
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import ViewType
from mlflow.exceptions import MlflowException

from data_contracts.errors import InputError
from data_contracts.store.locks import locked, note_of, try_lock
from data_contracts.store.sqlite import sqlite_file
from tasks.maintenance.files import LOCK, PARTIAL, REMOVED, digest_in, hidden_names, size_of
from tasks.maintenance.needed import Inventory, mark
from tasks.tracking.connection import connect, mlflow_errors, tracking_client
from tasks.tracking.logged_models import delete_model
from tasks.tracking.names import CONNECTING_LOCK, ID_FILE, MODEL_NAME, PARENT_TAG, owner_lock
from tasks.tracking.registry import version_uri
from tasks.tracking.store_artifacts import delete_artifacts, local_folder

_LOG = logging.getLogger(__name__)


def collect(store: Path, keep_last: int, every_partial: bool = False, dry_run: bool = True) -> dict[str, Any]:
    """Remove all garbage, or only list it with `dry_run`.

    Parameters
    ----------
    keep_last
        Number of pipeline runs, versions, keypoints and motions that are kept.
    every_partial
        Also remove the partial folders that interrupted trainings could resume.

    Returns
    -------
    dict
        `dry_run`; `since` (sequence number from which gc keeps everything, 0 if gc keeps all pipeline runs); `items`
        (kind, name, bytes); `removed` (kind -> count, bytes); `bytes`; `kept` (kind -> count); `skipped` (garbage that
        cannot be removed safely, with the reason); `busy` (processes that work in the store, so that gc keeps all
        results).

    Raises
    ------
    InputError
        MLflow or a manifest cannot be read; nothing is removed. Or MLflow failed later; the next gc completes this gc.
    """
    store = store.resolve()
    if keep_last < 1:
        raise InputError(f"--keep-last {keep_last}: must be at least 1")
    if not store.is_dir():
        raise InputError(f"{store}: no such store; pass --store")
    client = tracking_client(store)  # creates nothing
    if not (store / ID_FILE).is_file():
        raise InputError(f"{store}: not a store (it has no file {ID_FILE}); pass --store")
    if dry_run:
        return _Garbage(store, client, keep_last, every_partial).report() | {"dry_run": True}
    with mlflow_errors("gc has removed nothing"):
        client = connect(store)
    with locked(store / CONNECTING_LOCK, f"gc of {store}"):  # no pipeline or stage can create its run meanwhile
        garbage = _Garbage(store, client, keep_last, every_partial)
        outcome = garbage.report() | {"dry_run": False}
        with mlflow_errors("gc is not complete; run it again"):
            garbage.remove()
    return outcome


class _Garbage:
    """Unneeded items of a store and its MLflow; `skipped` has the items that cannot be removed safely."""

    def __init__(self, store: Path, client: MlflowClient, keep_last: int, every_partial: bool) -> None:
        self.store, self.client, self.skipped = store, client, list[str]()
        with mlflow_errors("gc has removed nothing"):
            self.inventory = inventory = Inventory(store, client)
        self.since, self.needed = inventory.since(keep_last), mark(inventory, keep_last)
        kept = inventory.locked.keys() if every_partial else inventory.locked.keys() | self.needed
        folders = hidden_names(store, REMOVED)  # an interrupted gc left them
        folders += [path for path, one in inventory.stages.manifests.items() if one["digest"] not in self.needed]
        folders += [path for path in hidden_names(store, PARTIAL) if digest_in(path) not in kept]
        self.folders = [path for path in folders if self._is_safe(path, store)]
        self.versions = [one for one in inventory.own_versions if version_uri(one) not in self.needed]
        runs = {run.info.run_id: run for run in inventory.runs if run.info.run_id not in self.needed}
        sources = {version.source for version in inventory.versions if version not in self.versions}
        models = [one for one in inventory.models if one.source_run_id in runs and one.model_uri not in sources]
        self.models = [one for one in models if self._can_delete(one.artifact_location)]
        for model in models:
            if model not in self.models:  # the next gc finds it by its run
                runs.pop(str(model.source_run_id), None)
        deletable = {key: run for key, run in runs.items() if self._can_delete(str(run.info.artifact_uri))}
        # MLflow would list a child of a deleted run as a run of its own
        parents = {run.data.tags.get(PARENT_TAG) for run in inventory.runs if run.info.run_id not in deletable}
        self.runs = [run for key, run in deletable.items() if key not in parents]

    def report(self) -> dict[str, Any]:
        """Return the outcome of `collect`."""
        items: list[dict[str, Any]] = []
        removed: dict[str, dict[str, int]] = {}

        def add(kind: str, name: str, size: int | None) -> None:
            items.append({"kind": kind, "name": name, "bytes": size})
            total = removed.setdefault(kind, {"count": 0, "bytes": 0})
            total["count"] += 1
            total["bytes"] += size or 0

        for path in self.folders:
            kind = "partial folders" if path.name.startswith(".") else path.parent.name
            add(kind, str(path.relative_to(self.store)), size_of(path))
        for version in self.versions:
            add("MLflow versions", f"{MODEL_NAME}/{version.version}", None)
        for model in self.models:
            add("MLflow models", f"{model.name} {model.model_id}", self._size(model.artifact_location))
        for run in self.runs:
            add("MLflow runs", f"{run.info.run_name} {run.info.run_id}", self._size(str(run.info.artifact_uri)))
        needed, inventory, runs = self.needed, self.inventory, {run.info.run_id for run in self.runs}
        return {
            "since": self.since,
            "items": items,
            "removed": removed,
            "bytes": sum(total["bytes"] for total in removed.values()),
            "kept": {
                "folders": sum(one["digest"] in needed for one in inventory.manifests),
                "pipeline runs": sum(run.info.run_id not in runs for run in inventory.pipelines),
                "versions": len(inventory.versions) - len(self.versions),
            },
            "skipped": self.skipped,
            "busy": list(inventory.locked.values()),
        }

    def remove(self) -> None:
        """Delete versions, folders, models and runs, in this order, and the rows of deleted models and runs."""
        for version in self.versions:
            self.client.delete_model_version(MODEL_NAME, version.version)
        for folder in self.folders:
            if hidden := hide(folder):
                shutil.rmtree(hidden, onerror=lambda _, file, error: self.skipped.append(f"{file}: {error[1]}"))
            else:
                self.skipped.append(f"{folder}: a process has just begun to work here")
        for model in self.models:
            delete_model(self.client, model)
        for run in self.runs:
            delete_artifacts(self.client, str(run.info.artifact_uri))
            owner_lock(self.store, run.info.run_id).unlink(missing_ok=True)
            self.client.delete_run(run.info.run_id)
        with mlflow_errors("gc has removed all files, but rows of deleted runs are left in MLflow"):
            _delete_rows(self.client, [run.info.run_id for run in self.runs], [one.model_id for one in self.models])

    def _size(self, uri: str) -> int | None:
        folder = local_folder(uri, self.client.tracking_uri)
        return None if folder is None else size_of(folder)

    def _can_delete(self, uri: str) -> bool:
        """Return whether artifacts at `uri` are next to the database, on a server or in a bucket; report others."""
        folder, database = local_folder(uri, self.client.tracking_uri), sqlite_file(self.client.tracking_uri)
        return folder is None or self._is_safe(folder, database and database.parent)

    def _is_safe(self, folder: Path, root: Path | None) -> bool:
        """Return whether a folder is below `root` without a symbolic link in its path; add others to `skipped`."""
        if root in folder.parents and folder.resolve() == folder:
            return True
        self.skipped.append(
            f"{folder}: kept, because it is outside {root or 'the store'} or is reached through a symbolic link"
        )
        return False


def hide(folder: Path) -> Path | None:
    """Rename a finished or partial folder to `.<digest>.removed`; return None if a process holds the stage's lock.

    No reader looks for the new name, so a deletion that is interrupted never leaves part of a result under its name.
    """
    digest = folder.name.removeprefix(".").removesuffix(PARTIAL).removesuffix(REMOVED)
    lock, removed = folder.with_name(f".{digest}{LOCK}"), folder.with_name(f".{digest}{REMOVED}")
    with try_lock(lock) as is_free:
        if not is_free:
            return None
        folder.replace(removed)
        note_of(lock).unlink(missing_ok=True)
        lock.unlink(missing_ok=True)  # a process that waits for the lock then opens a new file
    return removed


def _delete_rows(client: MlflowClient, runs: list[str], models: list[str]) -> None:
    """Delete the rows of deleted runs and LoggedModels by `mlflow gc`; it needs the database, not a tracking server.

    Without ids `mlflow gc` also deletes the runs and LoggedModels that a person has deleted. It always deletes deleted
    experiments. `mlflow gc` processes runs first and fails at an unknown id.
    """
    if not runs or client.tracking_uri.startswith("http") or client.search_experiments(ViewType.DELETED_ONLY):
        return
    from mlflow.cli import cli  # takes seconds

    command = ["gc", "--backend-store-uri", client.tracking_uri, "--tracking-uri", client.tracking_uri]
    command += ["--run-ids", ",".join(runs), "--logged-model-ids", ",".join(models) or "none"]
    with redirect_stdout(StringIO()):
        try:
            cli.main(command, standalone_mode=False)
        except MlflowException as error:
            _LOG.info("mlflow gc: %s", error)
