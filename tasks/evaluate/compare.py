"""Comparison of models by the reports that the store has of them; nothing is evaluated, no network is loaded.

Only scores on the same windows are compared, paired window by window: on others, a model may be better for their sake.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, ErrorCode

from data_contracts.comparison import ComparedModel, Comparison
from data_contracts.errors import InputError
from data_contracts.report import Resampling, read_errors, read_report
from data_contracts.store.checking import verify_input
from data_contracts.store.digests import CONTRACT_VERSION, file_digest
from data_contracts.store.folders import CHECKPOINT_FILE, resolve
from data_contracts.store.manifests import read_manifest
from model.scoring.intervals import difference, estimates
from tasks.tracking.registry import fetch_checkpoint
from tasks.tracking.runs import DIGEST_TAG, connect

_RUN_ID = re.compile("[0-9a-f]{32}")  # of MLflow; a digest of the store has 16


def compare(store: Path, references: Sequence[str], resampling: Resampling = Resampling()) -> Comparison:
    """Models side by side, and how each differs from the first.

    Parameters
    ----------
    references
        Two or more of: folder or digest of an evaluate stage or of a run, a checkpoint file, MLflow's id of a run, or
        a model URI (`models:/name/version`, `models:/name@alias`). What is no report stands for those of its weights.

    Raises
    ------
    InputError
        There is no such model, or no report of it; or they were not evaluated on the same windows.
    """
    folders = find_reports(store, references)
    for folder in folders:
        verify_input(folder)
    first = read_errors(folders[0])
    compared: list[ComparedModel] = []
    for name, folder in zip(references, folders, strict=True):
        report, is_first = read_report(folder), not compared
        compared_model = ComparedModel(
            name=name,
            report=report.digests["report"],
            checkpoint=report.digests["checkpoint"],
            scores=report.model,
            difference=None if is_first else estimates(difference(read_errors(folder), than=first), resampling),
        )
        compared.append(compared_model)
    return Comparison(
        windows=report.digests["windows"], split=report.split, resampling=resampling, models=tuple(compared)
    )


def find_reports(store: Path, references: Sequence[str]) -> list[Path]:
    """A report of each model, all on the same windows: of several such windows, those the first was scored on last."""
    if len(references) < 2:
        raise InputError(f"two models or more are to be compared, and there is {', '.join(references) or 'none'}")
    reports = [_reports_of(store, reference) for reference in references]
    by_windows = [{_scored_on(folder): folder for folder in reversed(of_one)} for of_one in reports]  # the newest stays
    for folder in reports[0]:
        if all(_scored_on(folder) in of_one for of_one in by_windows):
            return [of_one[_scored_on(folder)] for of_one in by_windows]
    raise InputError(_other_windows(references, reports))


def _reports_of(store: Path, reference: str) -> list[Path]:
    """The reports that a reference stands for, the newest first; at least one."""
    if reference.startswith(("models:/", "runs:/")) or reference.endswith((".safetensors", ".bin")):
        return _reports_on(store, reference, file_digest(fetch_checkpoint(store, reference)))
    folder = _folder_of_run(store, reference) if _RUN_ID.fullmatch(reference) else resolve(store, "*", reference)
    manifest = read_manifest(folder)
    if manifest["stage"] == "evaluate":
        return [folder]
    if manifest["stage"] not in ("pretrain", "finetune"):
        raise InputError(
            f"{reference}: is what stage {manifest['stage']} left in {folder}; what is compared is a report, as `uplift"
            " evaluate` leaves it, or a model"
        )
    return _reports_on(store, reference, manifest["files"][CHECKPOINT_FILE])


def _reports_on(store: Path, reference: str, checkpoint: str) -> list[Path]:
    """The reports about weights of that digest."""
    found: list[tuple[str, Path]] = []
    for folder in (store / "reports").glob("[!.]*"):
        manifest: dict[str, Any] = read_manifest(folder)
        if manifest["inputs"]["checkpoint"] == checkpoint and manifest["contract_version"] == CONTRACT_VERSION:
            found.append((manifest["created"], folder))
    if not found:
        raise InputError(f"{reference}: {store} has no report of it: uplift evaluate WINDOWS --model {reference}")
    return [folder for _, folder in sorted(found, reverse=True)]


def _folder_of_run(store: Path, run_id: str) -> Path:
    """What a run of MLflow left in the store; of a pipeline, its report."""
    try:
        tags = connect(store).get_run(run_id).data.tags
    except MlflowException as error:
        if error.error_code != ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
            raise
        raise InputError(f"{run_id}: MLflow has no such run ({error})") from error
    digest = tags.get("uplift.evaluate.digest") or tags.get(DIGEST_TAG)
    if digest is None:
        raise InputError(f"{run_id}: is no run of a stage or a pipeline of this project")
    return resolve(store, "*", digest)


def _scored_on(folder: Path) -> tuple[str, str]:
    """Digest of the windows, and the split of them."""
    manifest = read_manifest(folder)
    return manifest["inputs"]["windows"], manifest["parameters"]["split"]


def _other_windows(references: Sequence[str], reports: Sequence[list[Path]]) -> str:
    scored_on = [sorted({_scored_on(folder) for folder in of_one}) for of_one in reports]
    told = "; ".join(
        f"{name} on {' and '.join(f'{windows} ({split})' for windows, split in on)}"
        for name, on in zip(references, scored_on, strict=True)
    )
    windows, split = _scored_on(reports[0][0])
    others = [place for place, on in enumerate(scored_on) if (windows, split) not in on]  # one at least
    model = read_report(reports[others[0]][0]).model_uri or "MODEL"
    return (
        f"they were not evaluated on the same windows: {told}; evaluate them on the same: uplift evaluate {windows}"
        f" --model {model} --set evaluate.split={split}"
    )
