"""Garbage collection (gc): remove folders, runs and models that no kept pipeline run, version or process needs.

- gc fails safe: if MLflow cannot be reached or a manifest is damaged, gc removes nothing.
- gc removes nothing outside the store: a path that leads out of it, e.g. through a symbolic link, is reported and kept.
- gc can be interrupted anywhere: a folder is renamed before its files are deleted, and the row of a run or LoggedModel
  is marked as deleted after its files. The next gc completes an interrupted gc.
"""

import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from mlflow import MlflowClient

from data_contracts.errors import InputError
from data_contracts.store.locks import lock_owner, locked, note_of, try_lock
from tasks.maintenance.files import LOCK, PARTIAL, REMOVED, digest_in, hidden_names, size_of
from tasks.maintenance.needed import Inventory, mark
from tasks.tracking.connection import connect, connect_to_write, mlflow_errors, tracking_client
from tasks.tracking.logged_models import delete_model
from tasks.tracking.names import CONNECTING_LOCK, ID_FILE, MODEL_NAME, PARENT_TAG
from tasks.tracking.registry import version_uri
from tasks.tracking.store_artifacts import delete_artifacts, local_folder


def collect(store: Path, keep_last: int, dry_run: bool = True) -> dict[str, Any]:
    """Remove all garbage, or only list it with `dry_run`; `mark` describes what the last `keep_last` runs need.

    Returns
    -------
    dict
        `dry_run`; `items`: kind, name and bytes (on this machine) of each removed item; `notes`: reasons why gc keeps
        something that no result needs.

    Raises
    ------
    InputError
        MLflow or a manifest cannot be read; nothing is removed. Or MLflow failed later; the next gc completes this gc.
    """
    store = store.resolve()
    if keep_last < 1:
        raise InputError(f"--keep-last {keep_last}: must be at least 1")
    tracking_client(store)  # refuses a store without MLflow, which `connect` would create
    if not (store / ID_FILE).is_file():
        raise InputError(f"{store}: not a store (it has no file {ID_FILE}); pass --store")
    with mlflow_errors("gc has removed nothing"):
        client = connect(store) if dry_run else connect_to_write(store)
        # a process waits for this lock before it creates its run
        with nullcontext() if dry_run else locked(store / CONNECTING_LOCK, f"gc of {store}"):
            owners = [owner for path in hidden_names(store, LOCK) if (owner := lock_owner(path))]
            if owners:
                note = f"gc removes nothing while a process works in the store: {owners[0]}"
                return {"dry_run": dry_run, "items": [], "notes": [note]}
            garbage = _Garbage(store, client, keep_last)
            items = garbage.items()
            if not dry_run:
                with mlflow_errors("gc is not complete; run it again"):
                    garbage.remove()
    return {"dry_run": dry_run, "items": items, "notes": garbage.notes}


class _Garbage:
    """Garbage of a store: folders, and in MLflow model versions and runs (with LoggedModels), that nothing needs."""

    def __init__(self, store: Path, client: MlflowClient, keep_last: int) -> None:
        inventory = Inventory(store, client)
        self.store, self.client, self.notes = store, client, list[str]()
        if len(inventory.pipelines) < keep_last:
            self.notes.append(f"the store has fewer than {keep_last} finished pipeline runs: gc keeps all results")
        needed = mark(inventory, keep_last)
        folders = [path for path, one in inventory.stages.manifests.items() if one["digest"] not in needed]
        folders += [path for path in hidden_names(store, PARTIAL) if digest_in(path) not in needed]
        folders += hidden_names(store, REMOVED)  # an interrupted gc left them
        self.folders = [path for path in folders if path.resolve() == path]
        linked = [path for path in folders if path not in self.folders]
        self.notes += [f"{path}: kept, because it is reached through a symbolic link" for path in linked]
        self.versions = [version for version in inventory.versions if version_uri(version) not in needed]
        # MLflow would list a child of a deleted run as a run of its own
        parents = {run.data.tags.get(PARENT_TAG) for run in inventory.runs if run.info.run_id in needed}
        garbage = [run for run in inventory.runs if run.info.run_id not in needed | parents]
        self.runs = [
            (run, [one for one in inventory.models if one.source_run_id == run.info.run_id]) for run in garbage
        ]

    def items(self) -> list[dict[str, Any]]:
        """Return kind, name and bytes of each item."""
        items = [(path.parent.name, str(path.relative_to(self.store)), [path]) for path in self.folders]
        items += [("MLflow versions", f"{MODEL_NAME}/{version.version}", []) for version in self.versions]
        for run, models in self.runs:
            uris = [run.info.artifact_uri, *(model.artifact_location for model in models)]
            local = [folder for uri in uris if (folder := local_folder(str(uri), self.client.tracking_uri))]
            items.append(("MLflow runs", f"{run.info.run_name} {run.info.run_id}", local))
        return [{"kind": kind, "name": name, "bytes": sum(map(size_of, paths))} for kind, name, paths in items]

    def remove(self) -> None:
        """Delete versions, folders, and runs with their models."""
        for version in self.versions:
            self.client.delete_model_version(MODEL_NAME, version.version)
        for folder in self.folders:
            if hidden := hide(folder):
                shutil.rmtree(hidden, onerror=lambda _, file, error: self.notes.append(f"{file}: {error[1]}"))
            else:
                self.notes.append(f"{folder}: kept, because a process has just begun to work here")
        for run, models in self.runs:
            try:
                for model in models:
                    delete_model(self.client, model)
                delete_artifacts(self.client, str(run.info.artifact_uri))
            except InputError as error:  # the artifacts are outside the store
                self.notes.append(f"MLflow run {run.info.run_id}: kept, because {error}")
                continue
            self.client.delete_run(run.info.run_id)


def hide(folder: Path) -> Path | None:
    """Rename a finished or partial folder to `.<digest>.removed`; return None if a process holds the stage's lock.

    No reader looks for the new name, so a deletion that is interrupted never leaves part of a result under its name.
    """
    digest = folder.name.removeprefix(".").partition(".")[0]
    lock, removed = folder.with_name(f".{digest}{LOCK}"), folder.with_name(f".{digest}{REMOVED}")
    with try_lock(lock) as is_free:
        if not is_free:
            return None
        folder.replace(removed)
        note_of(lock).unlink(missing_ok=True)
        lock.unlink(missing_ok=True)  # a process that waits for the lock then opens a new file
    return removed
