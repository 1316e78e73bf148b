"""Where a model comes from, as far as the store knows: its runs, and the baselines that belong beside it.

A run is found by the bytes of its checkpoint, so a file that MLflow downloaded, or that was copied, is found as well.
"""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from data_contracts.errors import InputError
from data_contracts.parameters import BaselinesParameters
from data_contracts.store import identities
from data_contracts.store.digests import file_digest
from data_contracts.store.folders import resolve
from data_contracts.store.manifests import read_manifest


def runs_of(store: Path, checkpoint: Path) -> Iterator[dict[str, Any]]:
    """Manifests of the runs that led to a checkpoint, the last first, as far as its folder and the store have them."""
    wanted = file_digest(checkpoint)
    manifests = list(_manifests([checkpoint.parent, *sorted((store / "runs").glob("[!.]*"))]))
    while found := next((run for run in manifests if wanted in run["files"].values()), None):
        yield found
        wanted = found["inputs"].get("pretrained", "")


def train_minutes(store: Path, checkpoint: Path) -> float | None:
    """Of all the runs that led to a checkpoint, by the clock; none where one of them is not known."""
    runs = list(runs_of(store, checkpoint))
    if not runs or "pretrained" in runs[-1]["inputs"]:
        return None
    return sum(run["seconds"] for run in runs) / 60


def baselines_source(store: Path, windows: Path, checkpoint: Path, reference: str | None) -> Path:
    """A folder of baselines, or of the windows that they are to be fitted on, to compare a model with on `windows`.

    Parameters
    ----------
    reference
        Path or digest of either; none: `windows` themselves if they have a training split, else those that the model
        was trained on.

    Raises
    ------
    InputError
        There is no such folder; or none is named, and the model's training windows cannot be known.
    """
    if reference is not None:
        return _fitted_or_to_fit_on(store, reference)
    if has_training(windows):
        return windows
    missing = f"{windows} has no training split to fit the baselines on"
    pass_it = "pass --baselines with the folder or digest of the windows that it was trained on"
    run = next(runs_of(store, checkpoint), None)
    if run is None:
        raise InputError(
            f"{missing}, and no run in {store} left {checkpoint}, so what it was trained on is not known; {pass_it}"
        )
    try:
        return resolve(store, "windows", run["inputs"]["windows"])
    except InputError as error:
        raise InputError(
            f"{missing}, and the windows {run['inputs']['windows']} that {checkpoint} was trained on are not in"
            f" {store}; convert them again, or {pass_it}"
        ) from error


def are_baselines(source: Path) -> bool:
    """Whether what `baselines_source` found is fitted already."""
    return read_manifest(source)["stage"] == "baselines"


def baselines_digest(source: Path, parameters: BaselinesParameters) -> str:
    """Digest of the baselines at `source`, or of those that will be fitted on the windows there with `parameters`."""
    return read_manifest(source)["digest"] if are_baselines(source) else identities.baselines(source, parameters).digest


def has_training(windows: Path) -> bool:
    """Whether a windows folder has windows to train on."""
    return bool(read_manifest(windows)["counts"]["windows"].get("train"))


def _fitted_or_to_fit_on(store: Path, reference: str) -> Path:
    folder = resolve(store, "*", reference)
    stage = read_manifest(folder)["stage"]
    if stage not in ("baselines", "convert"):
        raise InputError(
            f"--baselines {reference}: is what stage {stage} left in {folder}; the folder or digest of windows is"
            " wanted, or of baselines"
        )
    return folder


def _manifests(folders: list[Path]) -> Iterator[dict[str, Any]]:
    """Of the folders that are finished runs; one that is damaged leads nowhere, and `uplift check` names it."""
    for folder in folders:
        with suppress(InputError):
            manifest = read_manifest(folder)
            if manifest["stage"] in ("pretrain", "finetune"):
                yield manifest
