"""Find the model that a command lifts with; a model outside MLflow is found without an import of MLflow."""

from dataclasses import dataclass
from pathlib import Path

from data_contracts.store.folders import resolve_checkpoint
from tasks.tracking.names import MODEL_NAME


@dataclass(frozen=True)
class LiftingModel:
    """Model to lift with.

    `uri` is its reference, with the number of a version. `flip`: use flip averaging, as the version was evaluated.
    Only a registered version has a `logged_model_id`.
    """

    checkpoint: Path
    uri: str
    flip: bool = True
    logged_model_id: str | None = None


def is_in_mlflow(reference: str) -> bool:
    """Return whether a reference of a model is an MLflow URI."""
    return reference.startswith(("models:/", "runs:/"))


def find_lifting_model(store: Path, reference: str) -> LiftingModel:
    """Return the existing model that an MLflow URI, a run folder or digest, or a checkpoint file names."""
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
