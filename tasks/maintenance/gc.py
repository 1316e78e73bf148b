"""Garbage collection (gc): remove folders, runs and models that no kept pipeline run, version or process needs.

- gc fails safe: if MLflow cannot be reached or a manifest is damaged, gc removes nothing.
- gc removes nothing outside the store: a path out of the store, e.g. by a symbolic link, is reported and kept.
- gc can be interrupted anywhere. Before it deletes files, it deletes versions, renames folders, and lists runs and
  LoggedModels in a journal. The next gc completes an interrupted gc.
"""

import json
import logging
import shutil
from collections import Counter
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import ViewType
from mlflow.exceptions import MlflowException

from data_contracts.errors import InputError
from data_contracts.store.digests import KINDS
from data_contracts.store.locks import lock_owner, locked
from data_contracts.store.manifests import write_json
from data_contracts.store.sqlite import sqlite_file
from tasks.maintenance.files import LOCK, PARTIAL, REMOVED, digest_in, hidden_names, hide, size_of
from tasks.maintenance.needed import mark, pages, read_inventory, sequence_of
from tasks.tracking.connection import mlflow_errors, tracking_client
from tasks.tracking.names import CONNECTING_LOCK, DIGEST_TAG, EXPERIMENT, ID_FILE, MODEL_NAME, owner_lock
from tasks.tracking.runs import connect
from tasks.tracking.store_artifacts import delete_artifacts, local_folder

_GC_LOCK, _JOURNAL = ".gc.lock", ".gc.json"
_LOG = logging.getLogger(__name__)
_INTERRUPTED = "gc is not complete; run it again"


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
        `dry_run`; `since` (sequence number of the oldest kept pipeline run, 0 if gc keeps all); `items` (kind, name,
        bytes); `removed` (kind -> count, bytes); `bytes`; `kept` (kind -> count); `skipped` (garbage that cannot be
        removed safely, with the reason); `unknown_work` (true if a process has just begun without recorded inputs, so
        gc kept all folders).

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
        (store / _GC_LOCK).touch()
    with locked(store / _GC_LOCK, name=f"gc of {store}"):
        with FileLock(store / CONNECTING_LOCK):  # no pipeline or stage can create its run while gc decides
            garbage = _Garbage(store, client, keep_last, every_partial)
            outcome = garbage.report() | {"dry_run": False}
            garbage.hide()
        garbage.delete()
    return outcome


class _Garbage:
    """Unneeded items of a store and its MLflow; `skipped` has the items that cannot be removed safely."""

    def __init__(self, store: Path, client: MlflowClient, keep_last: int, every_partial: bool) -> None:
        self.store, self.client, self.skipped = store, client, list[str]()
        with mlflow_errors("gc has removed nothing"):
            self.inventory = read_inventory(store, client)
        self.needed, self.since = mark(self.inventory, keep_last), self.inventory.since(keep_last)
        needed, inventory = self.needed, self.inventory
        folders = [folder for folder, one in inventory.stages.manifests.items() if one["digest"] not in needed.digests]
        folders += [path for path in hidden_names(store, PARTIAL) if every_partial or not self._can_resume(path)]
        self.folders = [path for path in folders if not _is_locked(path) and self._is_safe(path, store)]
        self.versions = [version for version in inventory.versions if str(version.version) not in needed.versions]
        sources = {version.source for version in inventory.versions if version not in self.versions}
        runs = {run.info.run_id: run for run in inventory.runs if run.info.run_id not in needed.runs}
        models = [one for one in inventory.models if one.source_run_id in runs and one.model_uri not in sources]
        self.models = [one for one in models if self._can_delete(one.artifact_location)]
        for model in models:
            if model not in self.models:  # the next gc reports it again
                runs.pop(str(model.source_run_id), None)
        self.runs = [run for run in runs.values() if self._can_delete(str(run.info.artifact_uri))]

    def report(self) -> dict[str, Any]:
        """Return the outcome of `collect`."""
        items: list[dict[str, Any]] = []
        removed: dict[str, dict[str, int]] = {}

        def add(kind: str, name: str, size: int | None) -> None:
            items.append({"kind": kind, "name": name, "bytes": size})
            total = removed.setdefault(kind, {"count": 0, "bytes": 0})
            total["count"] += 1
            total["bytes"] += size or 0

        for path in (*self.folders, *hidden_names(self.store, REMOVED)):
            kind = "partial folders" if path.name.startswith(".") else path.parent.name
            add(kind, str(path.relative_to(self.store)), size_of(path))
        for version in self.versions:
            add("MLflow versions", f"{MODEL_NAME}/{version.version}", None)
        for model in self.models:
            add("MLflow models", f"{model.name} {model.model_id}", self._size(model.artifact_location))
        for run in self.runs:
            add("MLflow runs", f"{run.info.run_name} {run.info.run_id}", self._size(str(run.info.artifact_uri)))
        needed, inventory = self.needed, self.inventory
        kept = Counter(KINDS[one["stage"]] for one in inventory.manifests if one["digest"] in needed.digests)
        return {
            "since": self.since,
            "items": items,
            "removed": removed,
            "bytes": sum(total["bytes"] for total in removed.values()),
            "kept": {
                **kept,
                "pipeline runs": sum(run.info.run_id in needed.runs for run in inventory.pipelines),
                "MLflow runs": sum(run.info.run_id in needed.runs for run in inventory.runs),
                "versions": len(needed.versions),
            },
            "skipped": self.skipped,
            "unknown_work": needed.unknown_work,
        }

    def hide(self) -> None:
        """Hide the garbage from all readers, in an order such that items stay complete if the process is killed."""
        active = {one.model_id for one in self.inventory.models} | {run.info.run_id for run in self.inventory.runs}
        locations = {name: uri for name, uri in _read_journal(self.store).items() if name not in active}
        locations |= {one.model_id: one.artifact_location for one in self.models}
        locations |= {one.info.run_id: str(one.info.artifact_uri) for one in self.runs}
        with mlflow_errors(_INTERRUPTED):
            for version in self.versions:
                self.client.delete_model_version(MODEL_NAME, version.version)
            for folder in self.folders:
                if hide(folder) is None:
                    self.skipped.append(f"{folder}: a process has just begun to work here")
            write_json(self.store / _JOURNAL, locations)
            for model in self.models:
                self.client.delete_logged_model(model.model_id)
            for run in self.runs:
                self.client.delete_run(run.info.run_id)

    def delete(self) -> None:
        """Delete the files of all hidden items, then the MLflow rows of these items."""
        for path in hidden_names(self.store, REMOVED):
            if self._is_safe(path, self.store):
                shutil.rmtree(path, onerror=lambda _, file, error: self.skipped.append(f"{file}: {error[1]}"))
        left = locations = _read_journal(self.store)
        with mlflow_errors(_INTERRUPTED):
            for name, uri in locations.items():
                try:
                    if self._can_delete(uri):
                        delete_artifacts(self.client, uri)
                        owner_lock(self.store, name).unlink(missing_ok=True)
                        left = {other: place for other, place in left.items() if other != name}
                except OSError as error:
                    self.skipped.append(f"{uri}: {error}")
            _delete_rows(self.client, locations.keys() - left.keys())
        write_json(self.store / _JOURNAL, left)  # for the next gc

    def _can_resume(self, partial: Path) -> bool:
        """Return whether a training that ran after the oldest kept pipeline run began can resume in `partial`."""
        runs = (run for run in self.inventory.runs if run.data.tags.get(DIGEST_TAG) == digest_in(partial))
        return partial.parent.name == "runs" and any(sequence_of(run) >= self.since for run in runs)

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
        reason = f"{folder}: kept, because it is outside {root or 'the store'} or is reached through a symbolic link"
        if reason not in self.skipped:
            self.skipped.append(reason)
        return False


def _is_locked(folder: Path) -> bool:
    """Return whether a process holds the lock of a partial folder."""
    return folder.name.endswith(PARTIAL) and lock_owner(folder.with_name(f".{digest_in(folder)}{LOCK}")) is not None


def _delete_rows(client: MlflowClient, names: set[str]) -> None:
    """Delete the rows of deleted runs and LoggedModels by `mlflow gc`, which needs the database, not a tracking server.

    Without ids `mlflow gc` also deletes the runs and LoggedModels that a person has deleted. It always deletes deleted
    experiments. `mlflow gc` processes runs first and fails at an unknown id.
    """
    if not names or client.tracking_uri.startswith("http") or client.search_experiments(ViewType.DELETED_ONLY):
        return
    from mlflow.cli import cli  # takes seconds

    experiment = client.get_experiment_by_name(EXPERIMENT)
    ids = [experiment.experiment_id] if experiment else []
    deleted = pages(lambda token: client.search_runs(ids, "", ViewType.DELETED_ONLY, 1000, page_token=token))
    runs = {run.info.run_id for run in deleted}.intersection(names)
    models = [name for name in names if name.startswith("m-")]
    uri = client.tracking_uri
    command = ["gc", "--backend-store-uri", uri, "--tracking-uri", uri]
    command += ["--run-ids", ",".join(runs) or "none", "--logged-model-ids", ",".join(models) or "none"]
    with redirect_stdout(StringIO()):
        try:
            cli.main(command, standalone_mode=False)
        except MlflowException as error:
            _LOG.info("mlflow gc: %s", error)


def _read_journal(store: Path) -> dict[str, str]:
    """Return the artifact URIs of the runs and LoggedModels that an interrupted gc has hidden."""
    try:
        return dict(json.loads((store / _JOURNAL).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise InputError(f"{store / _JOURNAL}: is damaged; remove the file and run gc again") from error
