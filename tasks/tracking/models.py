"""Find the model for lifting; a model outside MLflow is found without an import of MLflow."""

from dataclasses import dataclass
from pathlib import Path

from data_contracts.store.folders import resolve_checkpoint
from tasks.tracking.names import MODEL_NAME


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


def find_lifting_model(store: Path, reference: str) -> LiftingModel:
    """Return the model of an MLflow URI, of a run folder or digest, or of a checkpoint file; the model must exist."""
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
