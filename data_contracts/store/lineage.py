"""Training runs behind a checkpoint, and the baselines to compare it with, from the manifests of a store.

A run is found by the bytes of its checkpoint, so a copy of the file, or a download from MLflow, is found too.
"""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from data_contracts.errors import InputError
from data_contracts.store.digests import file_digest
from data_contracts.store.folders import resolve
from data_contracts.store.manifests import read_manifest


def runs_of(store: Path, checkpoint: Path) -> Iterator[dict[str, Any]]:
    """Yield the manifests of the runs that led to a checkpoint, the last first, from its folder and the store."""
    weights = file_digest(checkpoint)
    manifests = list(_manifests([checkpoint.parent, *sorted((store / "runs").glob("[!.]*"))]))
    while manifest := next((run for run in manifests if weights in run["files"].values()), None):
        yield manifest
        weights = manifest["inputs"].get("pretrained", "")


def train_minutes(store: Path, checkpoint: Path) -> float | None:
    """Return the duration of all runs that led to a checkpoint, in minutes; None if one of them is not known."""
    runs = list(runs_of(store, checkpoint))
    if not runs or "pretrained" in runs[-1]["inputs"]:
        return None
    return sum(run["seconds"] for run in runs) / 60


def baselines_source(store: Path, windows: Path, checkpoint: Path, reference: str | None) -> Path:
    """Return a folder of baselines to compare a model with on `windows`, or the windows to fit them on.

    Parameters
    ----------
    reference
        Path or digest of baselines or windows. Default: `windows` if they have a training split, else the windows that
        the model was trained on.

    Raises
    ------
    InputError
        The folder does not exist; or `reference` is None and the training windows of the model are not known.
    """
    if reference is not None:
        return _fitted_or_to_fit_on(store, reference)
    if has_training(windows):
        return windows
    missing = f"{windows} has no training split to fit the baselines on"
    remedy = "pass --baselines with the folder or digest of its training windows"
    run = next(runs_of(store, checkpoint), None)
    if run is None:
        raise InputError(
            f"{missing}, and no run in {store} has the checkpoint {checkpoint}, so its training windows are not known;"
            f" {remedy}"
        )
    try:
        return resolve(store, "windows", run["inputs"]["windows"])
    except InputError as error:
        raise InputError(
            f"{missing}, and {store} does not have the windows {run['inputs']['windows']} that {checkpoint} was trained"
            f" on; run `uplift convert` again, or {remedy}"
        ) from error


def are_baselines(source: Path) -> bool:
    """Return whether a folder of `baselines_source` contains fitted baselines."""
    return read_manifest(source)["stage"] == "baselines"


def has_training(windows: Path) -> bool:
    """Return whether a windows folder has a training split."""
    return bool(read_manifest(windows)["counts"]["windows"].get("train"))


def _fitted_or_to_fit_on(store: Path, reference: str) -> Path:
    folder = resolve(store, "*", reference)
    stage = read_manifest(folder)["stage"]
    if stage not in ("baselines", "convert"):
        raise InputError(
            f"--baselines {reference}: expected the folder or digest of windows or baselines, but {folder} is the"
            f" output of stage {stage}"
        )
    return folder


def _manifests(folders: list[Path]) -> Iterator[dict[str, Any]]:
    """Yield the manifests of the training runs among the folders; `uplift check` reports the damaged ones."""
    for folder in folders:
        with suppress(InputError):
            manifest = read_manifest(folder)
            if manifest["stage"] in ("pretrain", "finetune"):
                yield manifest
