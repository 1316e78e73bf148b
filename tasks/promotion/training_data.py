"""Training data of a model version, which registration writes next to its weights in MLflow.

The record outlives the store: gc may delete the run and its windows later, and other stores share the MLflow.
"""

from pathlib import Path

import mlflow
from mlflow.entities.model_registry import ModelVersion

from data_contracts.store.lineage import FinishedStages, TrainingData, data_of_weights
from tasks.tracking.names import CHECKPOINT_TAG
from tasks.tracking.runs import connect

TRAINING_DATA_FILE = "learned_from.json"


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
