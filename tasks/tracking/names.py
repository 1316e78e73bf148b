"""Names of the project in MLflow: experiment, registered model, tags and the id of a store.

This module does not import MLflow, because the import takes seconds.
"""

from pathlib import Path

from data_contracts.errors import InputError

EXPERIMENT = "pose-uplift"
STAGE_TAG, DIGEST_TAG, STORE_TAG = "uplift.stage", "uplift.digest", "uplift.store"
SEQUENCE_TAG = "uplift.sequence"  # sequence number of a run, see `data_contracts.store.sequence`
INPUTS_TAG = "uplift.inputs"  # JSON: input -> digest
PARENT_TAG = "mlflow.parentRunId"
PRESET_TAG, VERSION_TAG = "uplift.preset", "uplift.version"  # of a pipeline run: its preset, the version it registered
SOURCES_TAG = "uplift.sources"  # JSON: absolute paths of the motion of a pipeline run
PROMOTION_TAG = "uplift.promotion"  # of a decision: numbers of the two versions, CHALLENGER-CHAMPION

MODEL_NAME = "pose-uplift"
CHALLENGER, CHAMPION, PREVIOUS = "challenger", "champion", "previous"
# Tags of a version. MLflow shows them in the order of their first writing; other scores are metrics of the LoggedModel.
SCORE_TAG, CHECKPOINT_TAG, WINDOWS_TAG = "MPJPE", "uplift.checkpoint", "uplift.windows"
DECISION_TAG, ROLLBACK_TAG = "promotion", "rollback"  # last decision (one line), last rollback (JSON)
FLIP_TAG = "uplift.flip"  # False if the version predicts without flip averaging
BENCHMARK_TAG = "uplift.benchmark"  # of the registered model

DATABASE = "mlflow.db"  # of a store, if `MLFLOW_TRACKING_URI` names no other database
CONNECTING_LOCK, ID_FILE = ".mlflow.lock", ".id"


def store_id(store: Path) -> str:
    """Return the id of a store, which stays the same if the store is moved; `store_identity` writes the id."""
    name = (store / ID_FILE).read_text(encoding="utf-8").partition("\n")[0]
    if not name:
        raise InputError(f"{store / ID_FILE}: is empty; remove it to give the store a new id")
    return name


def owner_lock(store: Path, run_id: str) -> Path:
    """Return the lock file that the owner of a pipeline run holds."""
    return store / "pipelines" / f".{run_id}.lock"
