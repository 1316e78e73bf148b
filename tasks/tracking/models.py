"""Find the model for lifting; a model outside MLflow is found without an import of MLflow."""

import os
from dataclasses import dataclass
from pathlib import Path

from data_contracts.errors import InputError
from data_contracts.store.folders import SHIPPED, resolve_checkpoint
from tasks.tracking.names import CHAMPION, DATABASE, MODEL_NAME


@dataclass(frozen=True)
class LiftingModel:
    """Model to lift with.

    `uri` is the reference of the model; aliases are replaced by version numbers. `flip`: whether to use flip averaging,
    as in the evaluation of the version. Only a registered version has a `logged_model_id`.
    """

    checkpoint: Path
    uri: str
    flip: bool = True
    logged_model_id: str | None = None


def is_in_mlflow(reference: str) -> bool:
    """Return whether a model reference is an MLflow URI."""
    return reference.startswith(("models:/", "runs:/"))


def default_model(store: Path) -> str:
    """Return the URI of the champion or, if the registry has no champion, `SHIPPED`; nothing is created.

    Raises
    ------
    InputError
        The registry of the store does not answer, or MLflow is not installed.
    """
    try:
        if not _has_registry(store):
            return SHIPPED
        from tasks.tracking.connection import mlflow_errors, tracking_client
        from tasks.tracking.registry import aliased_versions
    except ModuleNotFoundError as error:
        raise InputError(
            f"the registry may have a champion, but {error.name} is not installed: pip install 'pose-uplift[pipeline]',"
            " or pass --model shipped"
        ) from error
    with mlflow_errors("to lift without the registry, pass --model shipped"):
        aliases = aliased_versions(tracking_client(store))
    return f"models:/{MODEL_NAME}@{CHAMPION}" if CHAMPION in aliases else SHIPPED


def _has_registry(store: Path) -> bool:
    """Return whether the store has an MLflow database, or the user named one elsewhere."""
    if (store / DATABASE).is_file():
        return True
    if not os.environ.get("MLFLOW_TRACKING_URI"):
        return False
    from tasks.tracking.connection import named_uri  # imports MLflow; connecting to a store sets the variable too

    return named_uri() is not None


def find_lifting_model(store: Path, reference: str) -> LiftingModel:
    """Return the model of an MLflow URI, run folder, digest, checkpoint file or `SHIPPED`; without one, InputError."""
    if not is_in_mlflow(reference):
        return LiftingModel(resolve_checkpoint(store, reference), reference)
    from tasks.tracking import registry  # imports MLflow, which takes seconds
    from tasks.tracking.runs import connect

    if not reference.startswith(f"models:/{MODEL_NAME}"):
        return LiftingModel(registry.fetch_checkpoint(store, reference), reference)
    version = registry.find_version(connect(store), reference)
    uri = registry.version_uri(version)
    checkpoint = registry.fetch_checkpoint(store, uri)
    return LiftingModel(checkpoint, uri, registry.uses_flip(version), registry.logged_model_id(version))
