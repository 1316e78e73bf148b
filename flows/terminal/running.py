"""From a command to a result: the store's, where it is there already, else that of a flow run here."""

import logging
from pathlib import Path
from typing import Any

from data_contracts.errors import InputError
from data_contracts.report import StageResult
from data_contracts.store.digests import Identity
from data_contracts.store.folders import find_stage, resolve_checkpoint
from flows.stage_runs.loading import load_flow


def find_or_run(store: Path, name: str, identity: Identity | None, **arguments: Any) -> StageResult:
    """The stage's result from the store, where it is there already; else what its flow returns.

    Parameters
    ----------
    identity
        What its result is a function of; none: only its flow can tell, as of a model in MLflow.
    """
    found = find_stage(store, identity) if identity else None
    return StageResult.of(found) if found else run_flow(name, store=str(store), **arguments)


def run_flow(name: str, **arguments: Any) -> Any:
    """What the flow of that name returns; what it refuses is left to the command to say, in one line."""
    logging.getLogger("alembic").setLevel(logging.WARNING)
    flow = load_flow(name)
    for handler in logging.getLogger().handlers:  # Prefect's console handler
        handler.addFilter(_Refusals())
    return flow(**arguments)


def local_checkpoint(store: Path, model: str) -> Path | None:
    """The checkpoint file of a model that is not in MLflow."""
    return None if model.startswith(("models:/", "runs:/")) else resolve_checkpoint(store, model)


class _Refusals(logging.Filter):
    """Drops what Prefect logs about a refused input: the command says it once, in one line."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and isinstance(record.exc_info[1], InputError):
            return False
        return record.levelno < logging.ERROR or not any(
            name in record.getMessage() for name in ("InputError", "RefusedPickle")
        )
