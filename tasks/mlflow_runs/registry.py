"""Models in MLflow: checkpoints as LoggedModels, the registered model `pose-uplift`, and its aliases."""

import warnings
from pathlib import Path

import mlflow
import numpy as np
from mlflow import MlflowClient
from mlflow.entities import LoggedModel, LoggedModelStatus
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec

from data_contracts.errors import InputError
from data_contracts.skeleton import NUM_JOINTS
from data_contracts.store.digests import file_digest
from data_contracts.store.folders import resolve_checkpoint
from data_contracts.store.manifests import package_versions
from tasks.mlflow_runs.runs import TrackedRun, connect

MODEL_NAME = "pose-uplift"
CHALLENGER, CHAMPION = "challenger", "champion"
CHECKPOINT_TAG, WINDOWS_TAG = "uplift.checkpoint", "uplift.windows"
_ROOT = Path(__file__).parents[2]


def log_lifter(tracked: TrackedRun, checkpoint: Path, window: int, step: int, metrics: dict[str, float]) -> str:
    """Log a 3D checkpoint as a LoggedModel of a run, with its metrics and step; returns its model URI.

    Its artifact is the safetensors file and the code that reads it. One that the run has already is not logged again;
    of one that a killed run did not finish, nothing is left. Its metrics are named `checkpoint.*`: under the names of
    the run's curves they would be second values of the same steps.
    """
    digest = file_digest(checkpoint)
    for model in _logged_models(tracked, digest):
        if model.status == LoggedModelStatus.READY:
            return model.model_uri
        tracked.client.delete_logged_model(model.model_id)
    shape = (-1, window, NUM_JOINTS, 3)
    tensor = Schema([TensorSpec(np.dtype(np.float32), shape)])
    versions = package_versions()
    with _active(tracked.run_id), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*An input example was not provided")  # the signature says it all
        info = mlflow.pyfunc.log_model(
            name=checkpoint.stem,
            python_model=str(Path(__file__).with_name("served_lifter.py")),
            artifacts={"checkpoint": str(checkpoint)},
            code_paths=[str(_ROOT / "model"), str(_ROOT / "data_contracts")],
            signature=ModelSignature(inputs=tensor, outputs=tensor),
            pip_requirements=[f"mlflow=={mlflow.__version__}"]
            + [
                f"{p}=={versions[p]}"
                for p in ("torch", "numpy", "safetensors", "pandas", "pyarrow", "pandera", "lightning-fabric")
            ]
            + ["pyyaml", "filelock"],
            step=step,
            tags={CHECKPOINT_TAG: digest},
        )
    named = {f"checkpoint.{name}": value for name, value in metrics.items()}
    mlflow.log_metrics(named, step=step, run_id=tracked.run_id, model_id=info.model_id)
    return info.model_uri


def register_challenger(
    tracked: TrackedRun, checkpoint: Path, windows: Path, window: int, metrics: dict[str, float]
) -> ModelVersion:
    """Make a fine-tuned checkpoint the `@challenger`: a new version, or the one that already holds these weights."""
    client = tracked.client
    digest = file_digest(checkpoint)
    version = _version_of(client, digest)
    if version is None:
        ready = [
            model for model in _logged_models(tracked, digest, of_run=False) if model.status == LoggedModelStatus.READY
        ]
        model_uri = ready[0].model_uri if ready else log_lifter(tracked, checkpoint, window, 0, metrics)
        version = mlflow.register_model(model_uri, MODEL_NAME, tags={CHECKPOINT_TAG: digest})
    tags = {name: f"{value:.4g}" for name, value in metrics.items()} | {WINDOWS_TAG: str(windows)}
    for key, tag in tags.items():
        client.set_model_version_tag(MODEL_NAME, version.version, key, tag)
    client.set_registered_model_alias(MODEL_NAME, CHALLENGER, version.version)
    return version


def fetch_checkpoint(store: Path, uri: str) -> Path:
    """The checkpoint file of a model: an MLflow model URI, a run folder or its digest, or a `.safetensors` file.

    Raises
    ------
    InputError
        There is no such model.
    """
    if uri.startswith(("models:/", "runs:/")):
        connect(store)
        try:
            folder = Path(mlflow.artifacts.download_artifacts(uri))
        except (MlflowException, OSError) as error:
            raise InputError(f"{uri}: no such model ({error})") from error
        found = sorted((folder / "artifacts").glob("*.safetensors"))
        if not found:
            raise InputError(f"{uri}: holds no safetensors checkpoint; it is no model of this project")
        return found[0]
    return resolve_checkpoint(store, uri)


def version_at(client: MlflowClient, alias: str) -> ModelVersion | None:
    """The version of `pose-uplift` that bears an alias."""
    try:
        return client.get_model_version_by_alias(MODEL_NAME, alias)
    except MlflowException:
        return None


def _version_of(client: MlflowClient, digest: str) -> ModelVersion | None:
    found = client.search_model_versions(f"name = '{MODEL_NAME}' and tags.`{CHECKPOINT_TAG}` = '{digest}'")
    return max(found, key=lambda version: int(version.version)) if found else None


def _logged_models(tracked: TrackedRun, digest: str, of_run: bool = True) -> list[LoggedModel]:
    """The experiment's LoggedModels of these weights; `of_run`: those of the run alone."""
    experiment = tracked.client.get_run(tracked.run_id).info.experiment_id
    found = tracked.client.search_logged_models([experiment], f"tags.`{CHECKPOINT_TAG}` = '{digest}'")
    return [model for model in found if not of_run or model.source_run_id == tracked.run_id]


class _active:
    """The run as MLflow's active one, for calls that take no run id; it is left running afterwards."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id

    def __enter__(self) -> None:
        mlflow.start_run(run_id=self.run_id, nested=True)

    def __exit__(self, *_: object) -> None:
        mlflow.end_run(status="RUNNING")
