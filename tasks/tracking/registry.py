"""The registered model `pose-uplift` in MLflow: its versions, their aliases and tags, and the files of a model.

A version has its score and the digests of its checkpoint and of its evaluation windows in tags, all scores as metrics
of its LoggedModel, and its training data in a file next to its weights. Stores without the run and its windows (other
stores, or after gc) read this file.
All functions raise `MlflowException` if the registry does not answer.
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

from data_contracts.errors import InputError, some
from data_contracts.store.digests import file_digest
from data_contracts.store.folders import resolve_checkpoint
from data_contracts.store.lineage import FinishedStages, TrainingData, data_of_weights
from tasks.tracking.alias_moves import current_aliases
from tasks.tracking.connection import connect
from tasks.tracking.logged_models import delete_model, log_lifter, logged_uri, restore_files
from tasks.tracking.models import is_in_mlflow
from tasks.tracking.names import CHALLENGER, CHAMPION, CHECKPOINT_TAG, FLIP_TAG, MODEL_NAME, SCORE_TAG, WINDOWS_TAG
from tasks.tracking.runs import TrackedRun
from tasks.tracking.store_artifacts import delete_artifacts

CHECKPOINTS = "checkpoints"  # folder of a run's artifacts
TRAINING_DATA_FILE = "learned_from.json"
MODEL_DESCRIPTION = """Lifts 2D keypoints of one person to 3D (17 joints of Human3.6M).

- `@challenger`: the newest version. `@champion`: the version that `uplift lift` and `uplift serve` use.
- `@previous`: the champion before, to which `uplift rollback` returns.
- Tag `MPJPE`: error on held-out subjects. Tag `promotion`: the last comparison of the version with the champion.
- The description of a version is its model card: scores, data, limits, recipe and how to load it.
"""
# Error codes of a missing model or version, and of a missing alias. Any other code means that MLflow did not answer.
_NOT_THERE = tuple(ErrorCode.Name(code) for code in (RESOURCE_DOES_NOT_EXIST, INVALID_PARAMETER_VALUE))


def drop_other_checkpoints(tracked: TrackedRun, checkpoints: list[Path]) -> None:
    """Delete all checkpoints of a run but `checkpoints`: artifacts, and LoggedModels without a registered version."""
    client = tracked.client
    digests = {file_digest(checkpoint) for checkpoint in checkpoints}
    registered = {version.source for version in model_versions(client)}  # a search returns versions without model_id
    experiment = client.get_run(tracked.run_id).info.experiment_id
    for model in client.search_logged_models([experiment], f"source_run_id = '{tracked.run_id}'"):
        if model.tags.get(CHECKPOINT_TAG) not in digests and model.model_uri not in registered:
            delete_model(client, model)
    names = {f"{CHECKPOINTS}/{checkpoint.name}" for checkpoint in checkpoints}
    uri = str(client.get_run(tracked.run_id).info.artifact_uri)
    for file in client.list_artifacts(tracked.run_id, CHECKPOINTS):
        if file.path not in names:
            delete_artifacts(client, uri, file.path)


def register_challenger(
    tracked: TrackedRun, checkpoint: Path, windows_digest: str, scores: dict[str, float], flip: bool
) -> ModelVersion:
    """Make a fine-tuned checkpoint the `@challenger`: register a new version, or reuse the version with these weights.

    Files of the model that are missing in MLflow are logged again from `checkpoint` first.

    Parameters
    ----------
    scores
        Metric name (`tasks.tracking.scores`) -> value; written as metrics of the LoggedModel. The MPJPE is also a tag.
    flip
        Use flip averaging in the predictions of the version, because it was evaluated with flip averaging.
    """
    client, digest = tracked.client, file_digest(checkpoint)
    versions = client.search_model_versions(f"name = '{MODEL_NAME}' and tags.`{CHECKPOINT_TAG}` = '{digest}'")
    same = [version for version in versions if uses_flip(version) == flip]
    version = max(same, key=lambda version: int(version.version), default=None)
    score = [f"{value:.1f} mm" for name, value in scores.items() if name.endswith("/mpjpe_mm")]  # of the report's split
    tags = {SCORE_TAG: score[0]} if score else {}
    tags |= {CHECKPOINT_TAG: digest, WINDOWS_TAG: windows_digest} | ({} if flip else {FLIP_TAG: str(flip)})
    if version is None:
        model_uri = logged_uri(tracked, digest, flip) or log_lifter(tracked, checkpoint, 0, {}, flip)
        restore_files(client, model_uri.rpartition("/")[2], checkpoint, flip)
        version = mlflow.register_model(model_uri, MODEL_NAME, tags=tags)
        if not client.get_registered_model(MODEL_NAME).description:
            client.update_registered_model(MODEL_NAME, MODEL_DESCRIPTION)
    else:
        restore_files(client, logged_model_id(version), checkpoint, flip)
    for key, tag in tags.items():  # a version that exists may have been evaluated on other windows
        client.set_model_version_tag(MODEL_NAME, version.version, key, tag)
    tracked.log_metrics(scores, model_id=logged_model_id(version))
    client.set_registered_model_alias(MODEL_NAME, CHALLENGER, version.version)
    return version


def fetch_checkpoint(store: Path, uri: str) -> Path:
    """Return the checkpoint file of a model: an MLflow URI, a training run or its digest, or a `.safetensors` file.

    A file that MLflow downloads is deleted when this process ends. A model without a file raises an InputError.
    """
    if not is_in_mlflow(uri):
        return resolve_checkpoint(store, uri)
    connect(store)
    temporary = mkdtemp(prefix="uplift-")  # MLflow would never delete its own folder
    atexit.register(shutil.rmtree, temporary, ignore_errors=True)
    lost = InputError(
        f"{uri}: MLflow has no safetensors checkpoint of this model. It is not a model of this project, or its files"
        " were lost. To log lost files again from the store, run the pipeline that registered the model"
    )
    try:
        folder = Path(mlflow.artifacts.download_artifacts(uri, dst_path=temporary))
    except MlflowException as error:
        if error.error_code not in _NOT_THERE:
            raise
        raise InputError(f"{uri}: no such model in MLflow ({error}); pass another URI") from error
    except OSError as error:
        raise lost from error
    for checkpoint in sorted((folder / "artifacts").glob("*.safetensors")):
        return checkpoint
    raise lost


def uses_flip(version: ModelVersion) -> bool:
    """Return whether a version predicts with flip averaging, as in its evaluation."""
    return version.tags.get(FLIP_TAG) != "False"


def aliased_versions(client: MlflowClient) -> dict[str, ModelVersion]:
    """Return the version of each alias of `pose-uplift`, read at one moment; empty if no model is registered.

    An interrupted move of `@champion` and `@previous` is treated as completed.
    """
    model = registered_model(client)
    aliases = current_aliases(model) if model else {}
    return {alias: client.get_model_version(MODEL_NAME, version) for alias, version in aliases.items()}


def registered_model(client: MlflowClient) -> RegisteredModel | None:
    """Return the registered model `pose-uplift`, or None if it does not exist."""
    try:
        return client.get_registered_model(MODEL_NAME)
    except MlflowException as error:
        if error.error_code in _NOT_THERE:
            return None
        raise


def model_versions(client: MlflowClient) -> list[ModelVersion]:
    """Return all versions of `pose-uplift`, the newest first, with their aliases."""
    versions = client.search_model_versions(f"name = '{MODEL_NAME}'")
    aliased: dict[str, list[str]] = {}
    for alias, version in aliased_versions(client).items():
        aliased.setdefault(str(version.version), []).append(alias)
    for version in versions:
        version.aliases = aliased.get(str(version.version), [])
    return sorted(versions, key=lambda version: -int(version.version))


def find_version(client: MlflowClient, uri: str) -> ModelVersion:
    """Return the current version of the URI `models:/pose-uplift@ALIAS` or `models:/pose-uplift/NUMBER`.

    Another URI, or a version that does not exist, raises an InputError.
    """
    match = re.fullmatch(rf"models:/{MODEL_NAME}(?:@([\w-]+)|/(\d+))", uri)
    if match is None:
        raise InputError(
            f"{uri}: not the URI of a version; write models:/{MODEL_NAME}@{CHAMPION} or models:/{MODEL_NAME}/1"
        )
    alias, number = match.groups()
    for version in model_versions(client):
        if alias in version.aliases or number == str(version.version):
            return version
    aliases = [f"@{name}" for name in aliased_versions(client)]
    known = f"its aliases are {some(aliases)}" if aliases else "it has no version with an alias"
    raise InputError(f"{uri}: {MODEL_NAME} has no such version in MLflow at {mlflow.get_tracking_uri()}; {known}")


def logged_model_id(version: ModelVersion) -> str:
    """Return the id of a version's LoggedModel; MLflow's SQL registry does not store `model_id`."""
    return str(version.source).rpartition("/")[2]


def version_scores(client: MlflowClient, version: ModelVersion) -> dict[str, float]:
    """Return the newest scores of a version by metric name; empty if its LoggedModel does not exist."""
    try:
        metrics = client.get_logged_model(logged_model_id(version)).metrics or []
    except MlflowException as error:
        if error.error_code in _NOT_THERE:
            return {}
        raise
    return {metric.key: metric.value for metric in sorted(metrics, key=lambda metric: metric.timestamp)}


def version_uri(version: ModelVersion) -> str:
    """Return the model URI of a version, e.g. `models:/pose-uplift/3`."""
    return f"models:/{MODEL_NAME}/{version.version}"


def read_training_data(store: Path, version: ModelVersion) -> TrainingData:
    """Return the training data of a version from its file in MLflow, or else from its run in the store."""
    client = connect(store)
    if version.run_id and any(file.path == TRAINING_DATA_FILE for file in client.list_artifacts(version.run_id)):
        text = mlflow.artifacts.load_text(f"runs:/{version.run_id}/{TRAINING_DATA_FILE}")
        return TrainingData.model_validate_json(text)
    return data_of_weights(FinishedStages(store), version.tags.get(CHECKPOINT_TAG, ""))


def write_training_data(store: Path, version: ModelVersion) -> None:
    """Write the training data of a version next to its weights in MLflow."""
    data = read_training_data(store, version).model_dump(mode="json")
    connect(store).log_dict(str(version.run_id), data, TRAINING_DATA_FILE)
