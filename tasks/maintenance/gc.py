"""Garbage collection: remove folders, runs and models that no kept pipeline run, version or process needs.

- gc fails safe: if MLflow cannot be reached or a needed manifest is damaged, gc removes nothing.
- gc removes nothing outside the store: a path that leads out of it, e.g. through a symbolic link, is reported and kept.
- gc can be interrupted anywhere: versions go first, folders are renamed, and a journal names runs and LoggedModels,
  before any file goes. The next gc completes an interrupted one.
"""

import json
import logging
import shutil
from collections import Counter
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import LoggedModel, Run, ViewType
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from data_contracts.errors import InputError
from data_contracts.store.locks import lock_owner, locked
from data_contracts.store.manifests import write_json
from data_contracts.store.sqlite import sqlite_file
from tasks.maintenance.files import LOCK, PARTIAL, REMOVED, digest_in, hidden_names, hide, size_of
from tasks.maintenance.needed import Inventory, Needed, mark, pages, read_inventory, sequence_of
from tasks.tracking.connection import mlflow_errors, tracking_client
from tasks.tracking.names import (
    CONNECTING_LOCK,
    DIGEST_TAG,
    EXPERIMENT,
    ID_FILE,
    MODEL_NAME,
    owner_lock,
)
from tasks.tracking.runs import connect
from tasks.tracking.store_artifacts import delete_artifacts, local_folder

_GC_LOCK, _JOURNAL = ".gc.lock", ".gc.json"
_LOG = logging.getLogger(__name__)
_INTERRUPTED = "gc is not complete; run it again"


@dataclass
class _Garbage:
    """Unneeded items. `folders`: finished and partial folders; `skipped`: items that cannot be removed safely."""

    folders: list[Path]
    versions: list[ModelVersion]
    models: list[LoggedModel]
    runs: list[Run]
    skipped: list[str] = field(default_factory=list)


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
        removed safely, with the reason); `unknown_work` (a process has just begun and its inputs are not recorded yet,
        so gc kept all folders).

    Raises
    ------
    InputError
        MLflow cannot be read, or a needed manifest is damaged: gc has removed nothing. Or MLflow failed during the
        removal: the next gc completes it.
    """
    store = store.resolve()
    if keep_last < 1:
        raise InputError(f"--keep-last {keep_last}: must be at least 1")
    if not store.is_dir():
        raise InputError(f"{store}: no such store")
    client = tracking_client(store)  # creates nothing
    if not (store / ID_FILE).is_file():
        raise InputError(f"{store}: not a store (it has no file {ID_FILE})")
    if dry_run:
        inventory, needed, garbage = _mark(store, client, keep_last, every_partial)
        return _report(store, client, inventory, needed, garbage, keep_last) | {"dry_run": True}
    with mlflow_errors("gc has removed nothing"):
        client = connect(store)
        (store / _GC_LOCK).touch()
    with locked(store / _GC_LOCK, name=f"gc of {store}"):
        with FileLock(store / CONNECTING_LOCK):  # no pipeline or stage can create its run while gc decides
            inventory, needed, garbage = _mark(store, client, keep_last, every_partial)
            outcome = _report(store, client, inventory, needed, garbage, keep_last) | {"dry_run": False}
            _hide(store, client, inventory, garbage)
        _delete(store, client, garbage.skipped)
    return outcome


def _mark(store: Path, client: MlflowClient, keep_last: int, every_partial: bool) -> tuple[Inventory, Needed, _Garbage]:
    with mlflow_errors("gc has removed nothing"):
        inventory = read_inventory(store, client)
    newest = {run.data.tags.get(DIGEST_TAG): sequence_of(run) for run in reversed(inventory.runs)}
    partial = hidden_names(store, PARTIAL)
    dead = [path for path in partial if not lock_owner(path.with_name(f".{digest_in(path)}{LOCK}"))]
    trainings = [] if every_partial else [path for path in dead if path.parent.name == "runs"]  # only these can resume
    resumable = [path for path in trainings if newest.get(digest_in(path), -1) >= inventory.since(keep_last)]
    needed = mark(inventory, keep_last, map(digest_in, resumable))
    folders = [folder.path for folder in inventory.folders if folder.digest not in needed.digests]
    folders += [path for path in dead if path not in resumable]
    versions = [version for version in inventory.versions if str(version.version) not in needed.versions]
    sources = {version.source for version in inventory.versions if version not in versions}
    runs = {run.info.run_id: run for run in inventory.runs if run.info.run_id not in needed.runs}
    models = [one for one in inventory.models if one.source_run_id in runs and one.model_uri not in sources]
    garbage = _Garbage([], versions, [], [])
    garbage.folders = [path for path in folders if _is_safe(path, store, garbage.skipped)]
    garbage.models = [one for one in models if _can_delete(client, one.artifact_location, garbage.skipped)]
    unsafe = {one.source_run_id for one in models if one not in garbage.models}  # the next gc reports them again
    garbage.runs = [run for run_id, run in runs.items() if run_id not in unsafe]
    garbage.runs = [run for run in garbage.runs if _can_delete(client, str(run.info.artifact_uri), garbage.skipped)]
    return inventory, needed, garbage


def _report(
    store: Path, client: MlflowClient, inventory: Inventory, needed: Needed, garbage: _Garbage, keep_last: int
) -> dict[str, Any]:
    def size(uri: str) -> int | None:
        folder = local_folder(uri, client.tracking_uri)
        return None if folder is None else size_of(folder)

    items: list[tuple[str, str, int | None]] = []
    for path in (*garbage.folders, *hidden_names(store, REMOVED)):
        kind = "partial folders" if path.name.startswith(".") else path.parent.name
        items.append((kind, str(path.relative_to(store)), size_of(path)))
    items += [("MLflow versions", f"{MODEL_NAME}/{one.version}", None) for one in garbage.versions]
    items += [("MLflow models", f"{one.name} {one.model_id}", size(one.artifact_location)) for one in garbage.models]
    for run in (one.info for one in garbage.runs):
        items.append(("MLflow runs", f"{run.run_name} {run.run_id}", size(str(run.artifact_uri))))
    removed: dict[str, dict[str, int]] = {}
    for kind, _, count in items:
        total = removed.setdefault(kind, {"count": 0, "bytes": 0})
        total["count"] += 1
        total["bytes"] += count or 0
    kept = Counter(folder.kind for folder in inventory.folders if folder.digest in needed.digests)
    kept |= {"pipeline runs": sum(run.info.run_id in needed.runs for run in inventory.pipelines)}
    kept |= {"MLflow runs": sum(run.info.run_id in needed.runs for run in inventory.runs)}
    kept |= {"versions": len(needed.versions)}
    return {
        "since": inventory.since(keep_last),
        "items": [dict(zip(("kind", "name", "bytes"), item, strict=True)) for item in items],
        "removed": removed,
        "bytes": sum(total["bytes"] for total in removed.values()),
        "kept": dict(kept),
        "skipped": garbage.skipped,
        "unknown_work": needed.unknown_work,
    }


def _hide(store: Path, client: MlflowClient, inventory: Inventory, garbage: _Garbage) -> None:
    """Hide the garbage from all readers, in an order that leaves complete items if the process is killed."""
    journal, active = _read_journal(store), {one.model_id for one in inventory.models}
    active |= {run.info.run_id for run in inventory.runs}
    locations = {name: uri for name, uri in journal.items() if name not in active}
    locations |= {one.model_id: one.artifact_location for one in garbage.models}
    locations |= {one.info.run_id: str(one.info.artifact_uri) for one in garbage.runs}
    with mlflow_errors(_INTERRUPTED):
        for version in garbage.versions:
            client.delete_model_version(MODEL_NAME, version.version)
        for folder in garbage.folders:
            if hide(folder) is None:
                garbage.skipped.append(f"{folder}: a process has just begun to work here")
        write_json(store / _JOURNAL, locations)
        for model in garbage.models:
            client.delete_logged_model(model.model_id)
        for run in garbage.runs:
            client.delete_run(run.info.run_id)


def _delete(store: Path, client: MlflowClient, skipped: list[str]) -> None:
    """Delete the files of all hidden items, then their rows in MLflow."""
    for path in hidden_names(store, REMOVED):
        if _is_safe(path, store, skipped):
            shutil.rmtree(path, onerror=lambda _, file, error: skipped.append(f"{file}: {error[1]}"))
    locations, left = _read_journal(store), dict[str, str]()
    with mlflow_errors(_INTERRUPTED):
        for name, uri in locations.items():
            try:
                if _can_delete(client, uri, skipped):
                    delete_artifacts(client, uri)
                    owner_lock(store, name).unlink(missing_ok=True)
                    continue
            except OSError as error:
                skipped.append(f"{uri}: {error}")
            left[name] = uri  # for the next gc
        _delete_rows(client, locations.keys() - left.keys())
    write_json(store / _JOURNAL, left)


def _delete_rows(client: MlflowClient, names: set[str]) -> None:
    """Delete the rows of deleted runs and LoggedModels by `mlflow gc`; it needs the database, not a tracking server.

    Without ids `mlflow gc` also deletes the runs and LoggedModels that a person has deleted, and it always deletes
    deleted experiments. It handles runs first and fails at an id that it does not have.
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


def _can_delete(client: MlflowClient, uri: str, skipped: list[str]) -> bool:
    """Return whether artifacts are next to the database, on a server or in a bucket; if not, report it."""
    folder, database = local_folder(uri, client.tracking_uri), sqlite_file(client.tracking_uri)
    return folder is None or _is_safe(folder, database and database.parent, skipped)


def _is_safe(folder: Path, root: Path | None, skipped: list[str]) -> bool:
    """Return whether a folder is below the root and not reached through a symbolic link; if not, report it."""
    if root in folder.parents and folder.resolve() == folder:
        return True
    reason = f"{folder}: kept, because it is outside {root or 'the store'} or is reached through a symbolic link"
    if reason not in skipped:
        skipped.append(reason)
    return False


def _read_journal(store: Path) -> dict[str, str]:
    """Return the artifact URIs of the runs and LoggedModels that an interrupted gc has hidden."""
    try:
        return dict(json.loads((store / _JOURNAL).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise InputError(f"{store / _JOURNAL}: is damaged; remove the file and run gc again") from error
