"""Removal of what no kept night, version, alias, benchmark or process at work needs.

What "needs" means stands in `tasks.cleaning.needs`. Notable decisions:
- one removal at a time (a lock); what to remove is found while no pipeline can begin and no stage can open its run
  (they wait some seconds, at the lock under which runs are made), and hidden before that is over. So no night meets a
  folder that is about to go: it begins before, and is seen at work, or after, and does not find it;
- versions go first, then folders are hidden, then LoggedModels, runs and files go. A kill anywhere leaves less of what
  is not needed, whole or not visible; the next removal ends it;
- a process that is not seen is one that was asked for a folder by name, and has no lock yet (milliseconds): it is
  refused, as if the folder had never been there.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from filelock import FileLock
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from data_contracts.errors import InputError
from data_contracts.store.locks import hold
from data_contracts.store.removal import delete, forget_lock, hide
from tasks.cleaning.inventory import client_of, take_inventory
from tasks.cleaning.plan import Plan, make_plan, summary
from tasks.mlflow_runs.names import CONNECTING_LOCK, MODEL_NAME
from tasks.mlflow_runs.removal import delete_model, delete_run

LOCK = ".gc.lock"
_LOG = logging.getLogger(__name__)


def collect(store: Path, keep_last: int, every_partial: bool = False, dry_run: bool = False) -> dict[str, Any]:
    """Remove what is not needed, or say what would be.

    Parameters
    ----------
    keep_last
        Nights, versions and lifted folders that are kept.
    every_partial
        Also what trainings that were killed would go on from.

    Returns
    -------
    dict
        `dry_run`, `since` (when the oldest kept night began; 0: all are kept), `items` (kind, name, bytes, why),
        `removed` (kind -> count, bytes), `kept` (kind -> count), `bytes`, `at_work` (nothing was removed that a process
        which has just begun may read).

    Raises
    ------
    InputError
        What is needed could not be asked: nothing is removed.
    """
    if keep_last < 1:
        raise InputError(f"--keep-last {keep_last}: at least one night is kept")
    if not store.is_dir():
        raise InputError(f"{store}: no such store")
    client = client_of(store)
    if dry_run:  # without the lock: a read-only store has none
        plan = make_plan(store, take_inventory(store, client), keep_last, every_partial)
        items = list(plan.items())
    else:
        with hold(store / LOCK, what=f"removal from {store}"):
            with FileLock(store / CONNECTING_LOCK), _said_if_mlflow_fails():
                plan = make_plan(store, take_inventory(store, client), keep_last, every_partial)
                items = list(plan.items())
                gone = _hide(client, plan)
            with _said_if_mlflow_fails():
                _delete(client, plan, gone)
    removed = summary(items)
    return {
        "dry_run": dry_run,
        "since": plan.since,
        "items": [asdict(item) for item in items],
        "removed": removed,
        "kept": plan.kept,
        "bytes": sum(total["bytes"] for total in removed.values()),
        "at_work": plan.at_work,
    }


def _hide(client: MlflowClient, plan: Plan) -> list[Path]:
    """Take it out of everybody's sight: versions, then folders; returns where these are now."""
    for version in plan.versions:
        client.delete_model_version(MODEL_NAME, version.version)
    gone = list(plan.hidden)
    for folder in [*plan.folders, *plan.partials]:
        hidden = hide(folder)
        if hidden is None:
            _LOG.warning("%s: is worked at, and stays", folder)
        elif hidden not in gone:
            gone.append(hidden)
    return gone


def _delete(client: MlflowClient, plan: Plan, gone: list[Path]) -> None:
    for path in gone:
        delete(path)
    for lock in plan.locks:
        forget_lock(lock)
    for model in plan.models:
        delete_model(client, model)
    for run in plan.runs:
        delete_run(client, run)


@contextmanager
def _said_if_mlflow_fails() -> Iterator[None]:
    try:
        yield
    except MlflowException as error:
        raise InputError(
            f"MLflow failed in the middle of a removal, which the next one ends: {error!s:.300}"
        ) from error
