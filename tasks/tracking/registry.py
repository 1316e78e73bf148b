"""The registered model `pose-uplift` in MLflow: its versions, their aliases and tags, and the files of a model.

A version is what was scored: its tags hold the digest of its checkpoint and of the windows it was scored on, and it
answers with flip averaging if it was scored so.
"""

import atexit
import re
import shutil
from pathlib import Path
from tempfile import mkdtemp

import mlflow
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion, RegisteredModel
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, RESOURCE_DOES_NOT_EXIST, ErrorCode
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from data_contracts.errors import InputError, some
from data_contracts.store.digests import file_digest
from data_contracts.store.folders import resolve_checkpoint
from tasks.tracking.alias_moves import current_aliases
from tasks.tracking.logged_models import log_lifter, logged_uri, restore_files
from tasks.tracking.names import (
    CHALLENGER,
    CHAMPION,
    CHECKPOINT_TAG,
    FLIP_TAG,
    MODEL_NAME,
    WINDOWS_TAG,
)
from tasks.tracking.removal import delete_model
from tasks.tracking.runs import TrackedRun, connect

ONNX_TAG = "uplift.onnx"
CHECKPOINTS = "checkpoints"  # folder of a run's artifacts

# What MLflow says of a model, version or alias (the second) that it does not have; anything else: it was not asked.
_NOT_THERE = tuple(ErrorCode.Name(code) for code in (RESOURCE_DOES_NOT_EXIST, INVALID_PARAMETER_VALUE))


def drop_other_checkpoints(tracked: TrackedRun, kept: list[Path]) -> None:
    """Delete what the run has of other checkpoints than these: LoggedModels and artifacts, and the files of both.

    What a version of the registered model stands on stays.
    """
    client = tracked.client
    digests = {file_digest(checkpoint) for checkpoint in kept}
    registered = {version.source for version in model_versions(client)}  # model_id is None in what a search finds
    experiment = client.get_run(tracked.run_id).info.experiment_id
    for model in client.search_logged_models([experiment], f"source_run_id = '{tracked.run_id}'"):
        if model.tags.get(CHECKPOINT_TAG) not in digests and model.model_uri not in registered:
            delete_model(client, model)
    names = {f"{CHECKPOINTS}/{checkpoint.name}" for checkpoint in kept}
    uri = client.get_run(tracked.run_id).info.artifact_uri
    artifacts = get_artifact_repository(str(uri), tracking_uri=client.tracking_uri)
    for file in client.list_artifacts(tracked.run_id, CHECKPOINTS):
        if file.path not in names:
            artifacts.delete_artifacts(file.path)


def register_challenger(
    tracked: TrackedRun, checkpoint: Path, windows_digest: str, window: int, scores: dict[str, float], flip: bool
) -> ModelVersion:
    """Make a fine-tuned checkpoint the `@challenger`: a new version, or the one that already holds these weights.

    Files of the model that are missing in MLflow are logged again from `checkpoint` first.

    Parameters
    ----------
    windows_digest
        Of the windows that it was scored on.
    window
        Frames of a window.
    scores
        By their names in MLflow (`tasks.tracking.scores`); its tags, and metrics of its LoggedModel.
    flip
        Whether they were scored with flip averaging: so the version will answer.
    """
    client = tracked.client
    digest = file_digest(checkpoint)
    version = _version_of(client, digest, flip)
    if version is None:
        model_uri = logged_uri(tracked, digest, flip) or log_lifter(tracked, checkpoint, window, 0, {}, flip)
        restore_files(client, model_uri.rpartition("/")[2], checkpoint, window, flip)
        version = mlflow.register_model(model_uri, MODEL_NAME, tags={CHECKPOINT_TAG: digest, FLIP_TAG: str(flip)})
    else:
        restore_files(client, logged_model_id(version), checkpoint, window, flip)
    tags = {name: f"{value:.4g}" for name, value in scores.items()} | {WINDOWS_TAG: windows_digest}
    for key, tag in tags.items():
        client.set_model_version_tag(MODEL_NAME, version.version, key, tag)
    tracked.log_metrics(scores, model_id=logged_model_id(version))
    client.set_registered_model_alias(MODEL_NAME, CHALLENGER, version.version)
    return version


def fetch_checkpoint(store: Path, uri: str) -> Path:
    """The checkpoint file of a model: an MLflow model URI, a run folder or its digest, or a `.safetensors` file.

    What MLflow hands out is there until this process ends.

    Raises
    ------
    InputError
        There is no such model.
    MlflowException
        The registry could not be asked.
    """
    if uri.startswith(("models:/", "runs:/")):
        connect(store)
        try:
            folder = Path(mlflow.artifacts.download_artifacts(uri, dst_path=_passing_folder()))
        except MlflowException as error:
            if error.error_code not in _NOT_THERE:
                raise
            raise InputError(f"{uri}: no such model ({error})") from error
        except OSError as error:
            raise _lost(uri) from error
        found = sorted((folder / "artifacts").glob("*.safetensors"))
        if not found:
            raise _lost(uri)
        return found[0]
    return resolve_checkpoint(store, uri)


def uses_flip(version: ModelVersion) -> bool:
    """Return whether a version answers with flip averaging: as it was scored, and with it if no tag records that."""
    return version.tags.get(FLIP_TAG) != "False"


def aliased_versions(client: MlflowClient) -> dict[str, ModelVersion]:
    """Return the versions of `pose-uplift` that have an alias, by alias, at one moment. Empty without a model.

    An interrupted move of `@champion` and `@previous` counts as completed.

    Raises
    ------
    MlflowException
        The registry could not be asked.
    """
    model = _registered_model(client)
    aliases = current_aliases(model) if model else {}
    return {alias: client.get_model_version(MODEL_NAME, version) for alias, version in aliases.items()}


def registered_tags(client: MlflowClient) -> dict[str, str]:
    """Tags of `pose-uplift` itself, not of a version; none of no model.

    Raises
    ------
    MlflowException
        The registry could not be asked.
    """
    model = _registered_model(client)
    return dict(model.tags) if model else {}


def model_versions(client: MlflowClient) -> list[ModelVersion]:
    """All versions of `pose-uplift`, the newest first, with their aliases; none of no model."""
    found = client.search_model_versions(f"name = '{MODEL_NAME}'")
    aliased: dict[str, list[str]] = {}
    for alias, version in aliased_versions(client).items():
        aliased.setdefault(str(version.version), []).append(alias)
    for version in found:
        version.aliases = aliased.get(str(version.version), [])
    return sorted(found, key=lambda version: -int(version.version))


def find_version(client: MlflowClient, uri: str) -> ModelVersion:
    """The version that `models:/pose-uplift@ALIAS` or `models:/pose-uplift/NUMBER` names now.

    Raises
    ------
    InputError
        It names none.
    MlflowException
        The registry could not be asked.
    """
    wanted = re.fullmatch(rf"models:/{MODEL_NAME}(?:@([\w-]+)|/(\d+))", uri)
    if wanted is None:
        raise InputError(f"{uri}: names no version; write models:/{MODEL_NAME}@{CHAMPION} or models:/{MODEL_NAME}/1")
    alias, number = wanted.groups()
    for version in model_versions(client):
        if alias in version.aliases or number == str(version.version):
            return version
    there = [f"@{name}" for name in aliased_versions(client)]
    has = f"it has {some(there)}" if there else "it has none yet"
    raise InputError(f"{uri}: {MODEL_NAME} has no such version in MLflow at {mlflow.get_tracking_uri()}; {has}")


def logged_model_id(version: ModelVersion) -> str:
    """Of the LoggedModel that a version was made from; `model_id` of a version is not kept by MLflow's SQL registry."""
    return str(version.source).rpartition("/")[2]


def version_uri(version: ModelVersion) -> str:
    """Model URI of that version, whatever its aliases become."""
    return f"models:/{MODEL_NAME}/{version.version}"


def _lost(uri: str) -> InputError:
    return InputError(
        f"{uri}: its files in MLflow have no safetensors checkpoint: it is not a model of this project, or the files"
        " were lost; running the pipeline that registered it logs them again from the store's runs"
    )


def _passing_folder() -> str:
    """An empty folder that is deleted when this process ends; MLflow's own, for what a server sends, stays for good."""
    folder = mkdtemp(prefix="uplift-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _registered_model(client: MlflowClient) -> RegisteredModel | None:
    try:
        return client.get_registered_model(MODEL_NAME)
    except MlflowException as error:
        if error.error_code in _NOT_THERE:
            return None
        raise


def _version_of(client: MlflowClient, digest: str, flip: bool) -> ModelVersion | None:
    found = client.search_model_versions(f"name = '{MODEL_NAME}' and tags.`{CHECKPOINT_TAG}` = '{digest}'")
    same = [version for version in found if version.tags.get(FLIP_TAG) == str(flip)]
    return max(same, key=lambda version: int(version.version)) if same else None
