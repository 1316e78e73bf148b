"""A look at what MLflow has, without MLflow, whose SQL store and registry take 2 to 3 s to import.

Notable decisions:
- a server is asked over its REST API, a store's own SQLite file in SQL, by the few tables and columns that hold runs,
  tags, metrics and aliases; both answer the same questions, and nothing is ever written;
- an answer is waited for a second; what cannot be asked is an error with a reason, and never "there is none".
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from data_contracts.errors import InputError
from tasks.mlflow_runs.glance.database import Database
from tasks.mlflow_runs.names import STAGE_TAG, STORE_TAG
from tasks.mlflow_runs.seen import SeenRun


class Glance(Protocol):
    """What may be asked; of runs the newest come first. `wanted`: tags, or `status`, by their values."""

    def runs(self, wanted: Mapping[str, str], limit: int) -> list[SeenRun]:
        """Active runs of the experiment."""

    def aliases(self) -> dict[str, str]:
        """Alias -> number of the version that bears it; nothing of no model."""

    def version_tags(self, version: str) -> dict[str, str]:
        """Tags of a version; nothing of one that is not there."""

    def model_tags(self) -> dict[str, str]:
        """Tags of the registered model."""


def pipelines_of(glance: Glance, store_id: str, limit: int) -> list[SeenRun]:
    """The last nights of a store."""
    return glance.runs({STORE_TAG: store_id, STAGE_TAG: "pipeline"}, limit)


def running_of(glance: Glance, store_id: str, limit: int = 20) -> list[SeenRun]:
    """Runs of a store that have not ended, as far as MLflow knows: a process that was killed said nothing."""
    return glance.runs({STORE_TAG: store_id, "status": "RUNNING"}, limit)


def look(store: Path) -> Glance:
    """The MLflow that a store is tracked in.

    Raises
    ------
    InputError
        There is none, or it is a database of another kind that no server stands before.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{store / 'mlflow.db'}"
    if uri.startswith(("http://", "https://")):
        from tasks.mlflow_runs.glance.server import Server  # a tenth of a second, where there is one

        return Server(uri)
    if not uri.startswith("sqlite:///"):
        raise InputError(f"MLflow: {uri.partition(':')[0]} is neither a server nor a SQLite file")
    return Database(Path(uri.removeprefix("sqlite:///")))
