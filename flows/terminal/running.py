"""Results of commands: from the store, else from a flow that runs in this process."""

import logging
from importlib import import_module
from pathlib import Path
from typing import Any

from data_contracts.errors import InputError
from data_contracts.report import StageResult
from data_contracts.store.folders import resolve_checkpoint
from flows.stages import STAGES, Context


def find_or_run(context: Context, name: str, **inputs: Any) -> StageResult:
    """Return the result of a stage: from the store, else from its flow, run in this process."""
    logging.getLogger("alembic").setLevel(logging.WARNING)
    found = STAGES[name].plan(context, **inputs).find(context.store)
    return found or run_flow(name, **inputs, **context.arguments())


def run_flow(name: str, **arguments: Any) -> Any:
    """Run a flow in this process; the command prints a refused input in one line."""
    logging.getLogger("alembic").setLevel(logging.WARNING)
    module = import_module("flows.stage_flows" if name in STAGES else f"flows.{name}")
    for handler in logging.getLogger().handlers:  # Prefect's console handler
        handler.addFilter(_Refusals())
    return getattr(module, name)(**arguments)


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
