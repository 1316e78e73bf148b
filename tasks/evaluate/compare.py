"""Compare models by their reports in the store, paired window by window.

Only reports on the same windows are compared, because scores also depend on the windows. No network is loaded.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, ErrorCode

from data_contracts.errors import InputError
from data_contracts.report import ComparedModel, Comparison, Resampling, read_errors, read_report
from data_contracts.store.checking import verify_input
from data_contracts.store.digests import CONTRACT_VERSION, file_digest
from data_contracts.store.folders import CHECKPOINT_FILE, resolve
from data_contracts.store.manifests import read_manifest
from model.scoring.intervals import difference, estimates
from tasks.tracking.models import is_in_mlflow
from tasks.tracking.registry import fetch_checkpoint
from tasks.tracking.runs import DIGEST_TAG, connect

_RUN_ID = re.compile("[0-9a-f]{32}")  # MLflow run ids have 32 hex digits, digests of the store 16


def compare(store: Path, references: Sequence[str]) -> Comparison:
    """Return the scores of all models, and the difference of each model from the first.

    Parameters
    ----------
    references
        Two or more references. Each is a folder or digest of an evaluation or a training run, a checkpoint file, an
        MLflow run id, or a model URI. The reports of a model are found by the digest of its weights.

    Raises
    ------
    InputError
        A reference is unknown, a model has no report, or the models were not evaluated on the same windows.
    """
    folders = find_reports(store, references)
    for folder in folders:
        verify_input(folder)
    first, resampling = read_errors(folders[0]), Resampling()
    compared: list[ComparedModel] = []
    for name, folder in zip(references, folders, strict=True):
        report = read_report(folder)
        change = estimates(difference(read_errors(folder), reference=first), resampling) if compared else None
        digests = {kind: report.digests[kind] for kind in ("report", "checkpoint")}
        compared.append(ComparedModel(name=name, scores=report.model, difference=change, **digests))
    return Comparison(
        windows=report.digests["windows"], split=report.split, resampling=resampling, models=tuple(compared)
    )


def find_reports(store: Path, references: Sequence[str]) -> list[Path]:
    """Return the newest report of each model on windows that all models were evaluated on, or raise an InputError."""
    if len(references) < 2:
        raise InputError(f"compare needs at least two models, got {', '.join(references) or 'none'}")
    reports = [_find_model_reports(store, reference) for reference in references]
    # (windows, split) -> the newest report folder, per model
    by_windows = [{_windows_and_split(folder): folder for folder in reversed(folders)} for folders in reports]
    for folder in reports[0]:
        if all(_windows_and_split(folder) in folders for folders in by_windows):
            return [folders[_windows_and_split(folder)] for folders in by_windows]
    raise InputError(_different_windows(references, reports))


def _find_model_reports(store: Path, reference: str) -> list[Path]:
    """Return the report folders of a reference (at least one), the newest first."""
    if is_in_mlflow(reference) or reference.endswith((".safetensors", ".bin")):
        return _find_weight_reports(store, reference, file_digest(fetch_checkpoint(store, reference)))
    folder = _run_folder(store, reference) if _RUN_ID.fullmatch(reference) else resolve(store, "*", reference)
    manifest = read_manifest(folder)
    if manifest["stage"] == "evaluate":
        return [folder]
    if manifest["stage"] not in ("pretrain", "finetune"):
        raise InputError(
            f"{reference}: expected a report (output of `uplift evaluate`) or a model, but {folder} is the output of"
            f" stage {manifest['stage']}"
        )
    return _find_weight_reports(store, reference, manifest["files"][CHECKPOINT_FILE])


def _find_weight_reports(store: Path, reference: str, checkpoint: str) -> list[Path]:
    """Return the report folders of the checkpoint with SHA-256 `checkpoint`, the newest first."""
    reports: list[tuple[str, Path]] = []
    for folder in (store / "reports").glob("[!.]*"):
        manifest: dict[str, Any] = read_manifest(folder)
        if manifest["inputs"]["checkpoint"] == checkpoint and manifest["contract_version"] == CONTRACT_VERSION:
            reports.append((manifest["created"], folder))
    if not reports:
        raise InputError(
            f"{reference}: {store} contains no report of this model; run uplift evaluate WINDOWS --model {reference}"
        )
    return [folder for _, folder in sorted(reports, reverse=True)]


def _run_folder(store: Path, run_id: str) -> Path:
    """Return the folder of an MLflow run in the store; for a pipeline run, the folder of its report."""
    try:
        tags = connect(store).get_run(run_id).data.tags
    except MlflowException as error:
        if error.error_code != ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
            raise
        raise InputError(f"{run_id}: MLflow does not contain this run ({error}); pass another id") from error
    digest = tags.get("uplift.evaluate.digest") or tags.get(DIGEST_TAG)
    if digest is None:
        raise InputError(
            f"{run_id}: this MLflow run has no {DIGEST_TAG} tag; pass the run of a stage or pipeline of this project"
        )
    return resolve(store, "*", digest)


def _windows_and_split(folder: Path) -> tuple[str, str]:
    """Return the digest of the windows and the split of a report."""
    manifest = read_manifest(folder)
    return manifest["inputs"]["windows"], manifest["parameters"]["split"]


def _different_windows(references: Sequence[str], reports: Sequence[list[Path]]) -> str:
    """Return the error message for models without a report on the same windows."""
    evaluated = [sorted({_windows_and_split(folder) for folder in folders}) for folders in reports]
    listing = "; ".join(
        f"{name} on {' and '.join(f'{windows} ({split})' for windows, split in pairs)}"
        for name, pairs in zip(references, evaluated, strict=True)
    )
    windows, split = _windows_and_split(reports[0][0])
    missing = next(number for number, pairs in enumerate(evaluated) if (windows, split) not in pairs)
    model = read_report(reports[missing][0]).model_uri or "MODEL"
    return (
        f"the models were not evaluated on the same windows: {listing}; run uplift evaluate {windows}"
        f" --model {model} --set evaluate.split={split}"
    )
