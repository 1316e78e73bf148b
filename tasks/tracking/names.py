"""What the project calls things in MLflow: its experiment, its model, the tags of both, and a store's id.

It imports nothing of MLflow, which takes seconds: whoever only looks for a name need not wait for it.
"""

from pathlib import Path

from data_contracts.errors import InputError

EXPERIMENT = "pose-uplift"
STAGE_TAG, DIGEST_TAG, STORE_TAG = "uplift.stage", "uplift.digest", "uplift.store"
SEQUENCE_TAG = "uplift.sequence"  # number of a run, see `data_contracts.store.sequence`
INPUTS_TAG, CODE_TAG = "uplift.inputs", "uplift.code"  # JSON: input -> digest; what `code_version` says
VERSION_TAG = "uplift.version"  # of a pipeline: the number of the version that it registered
PROMOTION_TAG = "uplift.promotion"  # of a decision: CHALLENGER-RIVAL, by their numbers

MODEL_NAME = "pose-uplift"
CHALLENGER, CHAMPION, PREVIOUS = "challenger", "champion", "previous"
CHECKPOINT_TAG, WINDOWS_TAG, FLIP_TAG = "uplift.checkpoint", "uplift.windows", "uplift.flip"
BENCHMARK_TAG, SINCE_TAG = "uplift.benchmark", "uplift.benchmark_since"  # of the registered model

CONNECTING_LOCK, ID_FILE = ".mlflow.lock", ".id"


def store_id(store: Path) -> str:
    """Return the id of a store, which it keeps when it is moved; `store_identity` writes it.

    Raises
    ------
    InputError
        The file with the id is empty.
    """
    name = (store / ID_FILE).read_text(encoding="utf-8").partition("\n")[0]
    if not name:
        raise InputError(f"{store / ID_FILE}: is empty; remove it to give the store a new id")
    return name


def owner_lock(store: Path, run_id: str) -> Path:
    """The lock file that the process at work in a pipeline's run holds."""
    return store / "pipelines" / f".{run_id}.lock"
