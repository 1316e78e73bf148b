"""LoggedModels of MLflow: a 3D checkpoint with the code that reads it, as `mlflow models serve` loads it."""

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mlflow
import numpy as np
from mlflow import MlflowClient
from mlflow.entities import LoggedModel, LoggedModelStatus
from mlflow.models import Model, ModelSignature
from mlflow.types import DataType, ParamSchema, ParamSpec, Schema, TensorSpec

from data_contracts.skeleton import NUM_JOINTS
from data_contracts.store.digests import file_digest
from data_contracts.store.manifests import package_versions
from tasks.serving.served_code import REQUIRES, write_served_code
from tasks.tracking.names import CHECKPOINT_TAG, FLIP_TAG
from tasks.tracking.runs import TrackedRun
from tasks.tracking.store_artifacts import delete_artifacts

_LOG = logging.getLogger(__name__)


def log_lifter(tracked: TrackedRun, checkpoint: Path, step: int, metrics: dict[str, float], flip: bool = True) -> str:
    """Log a 3D checkpoint as a LoggedModel of a run, with its metrics and step; return its model URI.

    A checkpoint of which the run already has a LoggedModel is not logged again. An unfinished LoggedModel of a killed
    run is deleted. Metrics are named `checkpoint.*`, because the curves of the run have values at the same steps.
    """
    digest = file_digest(checkpoint)
    for model in _logged_models(tracked, digest, flip):
        if model.source_run_id == tracked.run_id:
            if model.status == LoggedModelStatus.READY:
                return model.model_uri
            delete_model(tracked.client, model)
    with tracked.active(), _contents(checkpoint, flip) as contents:
        info = mlflow.pyfunc.log_model(
            name=checkpoint.stem, step=step, tags={CHECKPOINT_TAG: digest, FLIP_TAG: str(flip)}, **contents
        )
    named = {f"checkpoint.{name}": value for name, value in metrics.items()}
    mlflow.log_metrics(named, step=step, run_id=tracked.run_id, model_id=info.model_id)
    return info.model_uri


def logged_uri(tracked: TrackedRun, digest: str, flip: bool) -> str | None:
    """Return the model URI of a LoggedModel with weights `digest` and setting `flip`, or None if there is none."""
    ready = [model for model in _logged_models(tracked, digest, flip) if model.status == LoggedModelStatus.READY]
    return ready[0].model_uri if ready else None


def restore_files(client: MlflowClient, model_id: str, checkpoint: Path, flip: bool) -> None:
    """Log the files of a LoggedModel again if files are missing in MLflow's artifacts; `checkpoint` has the weights."""
    if _has_its_files(client, model_id, checkpoint.stat().st_size):
        return
    _LOG.warning("model %s: its files in MLflow are missing or incomplete; logging them again", model_id)
    model = client.get_logged_model(model_id)
    delete_artifacts(client, model.artifact_location)
    with TemporaryDirectory() as folder, _contents(checkpoint, flip) as contents:
        about = Model(run_id=model.source_run_id, model_id=model_id)
        mlflow.pyfunc.save_model(f"{folder}/model", mlflow_model=about, **contents)
        client.log_model_artifacts(model_id, f"{folder}/model")


def save_lifter(folder: Path, checkpoint: Path, flip: bool) -> None:
    """Write a 3D checkpoint as an MLflow model into a new `folder`, without a run."""
    with _contents(checkpoint, flip) as contents:
        mlflow.pyfunc.save_model(str(folder), **contents)


def delete_model(client: MlflowClient, model: LoggedModel) -> None:
    """Delete a LoggedModel and its files; MLflow keeps the row, marked as deleted, until `mlflow gc` is run."""
    if model.status == LoggedModelStatus.READY:  # an interrupted deletion leaves no model that looks complete
        client.finalize_logged_model(model.model_id, LoggedModelStatus.FAILED)
    delete_artifacts(client, model.artifact_location)
    client.delete_logged_model(model.model_id)


def _has_its_files(client: MlflowClient, model_id: str, checkpoint_bytes: int) -> bool:
    names = {file.path for file in client.list_logged_model_artifacts(model_id)}
    if not {"MLmodel", "artifacts", "code"} <= names or not any(name.endswith(".py") for name in names):
        return False
    artifacts = client.list_logged_model_artifacts(model_id, "artifacts")
    has_weights = any(file.path.endswith(".safetensors") and file.file_size == checkpoint_bytes for file in artifacts)
    return has_weights and bool(client.list_logged_model_artifacts(model_id, "code"))


@contextmanager
def _contents(checkpoint: Path, flip: bool) -> Iterator[dict[str, Any]]:
    """Yield arguments for `mlflow.pyfunc`; the served code is on Python's path, because MLflow runs it to save it."""
    versions = package_versions()
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*An input example was not provided")  # the signature is complete
        sys.path.insert(0, folder)
        try:
            entry, package = write_served_code(Path(folder))
            yield {
                "python_model": str(entry),
                "artifacts": {"checkpoint": str(checkpoint)},
                "code_paths": [str(package)],
                "model_config": {"flip": flip},
                "signature": _signature(),
                "pip_requirements": [f"{package}=={versions[package]}" for package in REQUIRES],
            }
        finally:
            sys.path.remove(folder)


def _signature() -> ModelSignature:
    """Return the model signature: windows, or keypoints with parameter `skeleton` (see `served_lifter`)."""
    parameters = [
        ParamSpec("skeleton", DataType.string, ""),
        ParamSpec("fps", DataType.double, 0.0),
        ParamSpec("height", DataType.double, 0.0),
        ParamSpec("image_width", DataType.long, 0),
        ParamSpec("image_height", DataType.long, 0),
        ParamSpec("fov_deg", DataType.double, 0.0),
        ParamSpec("root", DataType.boolean, False),
    ]
    points = Schema([TensorSpec(np.dtype(np.float32), (-1, -1, -1, -1))])
    poses = Schema([TensorSpec(np.dtype(np.float32), (-1, -1, NUM_JOINTS, 3))])
    return ModelSignature(inputs=points, outputs=poses, params=ParamSchema(parameters))


def _logged_models(tracked: TrackedRun, digest: str, flip: bool) -> list[LoggedModel]:
    """Return the experiment's LoggedModels with these weights and this flip setting."""
    experiment = tracked.client.get_run(tracked.run_id).info.experiment_id
    condition = f"tags.`{CHECKPOINT_TAG}` = '{digest}' and tags.`{FLIP_TAG}` = '{flip}'"
    return list(tracked.client.search_logged_models([experiment], condition))
