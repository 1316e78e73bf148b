"""Promotion: challenger against champion on the same windows; the alias moves only to the better one.

Versions are numbers from the first look at the registry to the last: an alias that is moved in between moves nothing
here. What could not be asked is an error, never "there is none".
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from filelock import FileLock
from mlflow.entities.model_registry import ModelVersion
from prefect import task
from prefect.cache_policies import NO_CACHE

from data_contracts.errors import InputError
from data_contracts.parameters import PromoteParameters
from data_contracts.report import ERRORS_FILE
from data_contracts.store.folders import resolve
from data_contracts.store.manifests import read_manifest
from tasks.mlflow_runs.registry import (
    CHALLENGER,
    CHAMPION,
    CHECKPOINT_TAG,
    MODEL_NAME,
    WINDOWS_TAG,
    aliased_versions,
    version_uri,
)
from tasks.mlflow_runs.runs import connect

_LOCK = ".promotion.lock"


@dataclass(frozen=True)
class Contenders:
    """Who is compared on what: URIs that name version numbers, and a windows folder."""

    challenger: str
    champion: str | None  # none: there is no champion, or the challenger is it
    windows: Path


@task(cache_policy=NO_CACHE)
def find_contenders(store: Path, windows: str | None) -> Contenders:
    """The versions that bear `@challenger` and `@champion` now, and the windows to compare them on.

    Raises
    ------
    InputError
        There is no challenger, or the windows it was evaluated on are gone.
    MlflowException
        The registry could not be asked.
    """
    versions = aliased_versions(connect(store))
    challenger, champion = versions.get(CHALLENGER), versions.get(CHAMPION)
    if challenger is None:
        raise InputError(f"no model version is {MODEL_NAME}@{CHALLENGER}: run a pipeline first")
    folder = resolve(store, "windows", windows or challenger.tags.get(WINDOWS_TAG, ""))
    compared = champion is not None and champion.version != challenger.version
    return Contenders(version_uri(challenger), version_uri(champion) if champion and compared else None, folder)


@task(cache_policy=NO_CACHE)
def decide(
    store: Path,
    contenders: Contenders,
    challenger_report: Path,
    champion_report: Path | None,
    parameters: PromoteParameters,
) -> dict[str, Any]:
    """Move `@champion` to the challenger if its error is lower on the same windows, and tag both with why.

    The paired difference is resampled by clip: windows of one clip are not independent. The alias moves when the whole
    bootstrap interval lies below zero, or when there is no champion yet. One decision is taken at a time.

    Returns
    -------
    dict
        `promoted`, `reason`, `challenger_mpjpe_mm`, `champion_mpjpe_mm`, `difference_mm`, `interval_mm`, `version`.

    Raises
    ------
    InputError
        A report is not about the version, or the champion is no longer the one that was compared.
    MlflowException
        The registry could not be asked.
    """
    client = connect(store)
    with FileLock(store / _LOCK):
        champion = aliased_versions(client).get(CHAMPION)
        challenger = _version(client, contenders.challenger)
        _must_be_about(challenger, challenger_report)
        errors = pd.read_parquet(challenger_report / ERRORS_FILE)
        decision: dict[str, Any] = {"version": int(challenger.version), "challenger_mpjpe_mm": _mean_error(errors)}
        if champion is not None and champion.version == challenger.version:
            decision |= {"promoted": False, "reason": "the challenger is the champion already"}
        elif (champion and version_uri(champion)) != contenders.champion:
            now = f"version {champion.version}" if champion else "nobody"
            was = contenders.champion or "nobody"
            raise InputError(f"{MODEL_NAME}@{CHAMPION} is {now}, and {was} was compared: it was moved; promote again")
        elif champion is None or champion_report is None:
            decision |= {"promoted": True, "reason": "there was no champion"}
        else:
            _must_be_about(champion, champion_report)
            decision |= compare(errors, pd.read_parquet(champion_report / ERRORS_FILE), parameters)
        if decision["promoted"]:
            client.set_registered_model_alias(MODEL_NAME, CHAMPION, challenger.version)
        _tag(client, [challenger, champion], decision)
    return decision


def compare(challenger: pd.DataFrame, champion: pd.DataFrame, parameters: PromoteParameters) -> dict[str, Any]:
    """Paired comparison of two error tables (`errors.parquet`) on the same windows; its errors are the reports' MPJPE.

    Raises
    ------
    InputError
        They are not about the same windows.
    """
    pairs = challenger.merge(champion, on=["window_id", "clip_id", "frames"], suffixes=("", "_champion"))
    if not len(pairs) == len(challenger) == len(champion):
        raise InputError("challenger and champion were not evaluated on the same windows")
    weighted = pairs.assign(difference=(pairs["mpjpe_mm"] - pairs["mpjpe_mm_champion"]) * pairs["weight"])
    clips = weighted.groupby("clip_id")[["difference", "weight"]].sum().to_numpy()  # (clips, 2)
    random = np.random.default_rng(parameters.seed)
    drawn = clips[random.integers(len(clips), size=(parameters.resamples, len(clips)))].sum(axis=1)
    tail = (1 - parameters.confidence) / 2
    low, high = np.quantile(drawn[:, 0] / drawn[:, 1], (tail, 1 - tail))
    difference = clips[:, 0].sum() / clips[:, 1].sum()
    better = bool(high < 0)
    return {
        "promoted": better,
        "reason": f"the challenger is {'better' if better else 'not certainly better'}: {difference:+.2f} mm,"
        f" {parameters.confidence:.0%} interval [{low:+.2f}, {high:+.2f}] over {len(clips)} clips",
        "champion_mpjpe_mm": _mean_error(champion),
        "difference_mm": float(difference),
        "interval_mm": [float(low), float(high)],
    }


def _version(client: Any, uri: str) -> ModelVersion:
    return client.get_model_version(MODEL_NAME, uri.rpartition("/")[2])


def _must_be_about(version: ModelVersion, report: Path) -> None:
    """The report's checkpoint is the version's, to the byte."""
    examined, registered = read_manifest(report)["inputs"]["checkpoint"], version.tags.get(CHECKPOINT_TAG)
    if examined != registered:
        raise InputError(
            f"{report}: is about a checkpoint {examined[:12]}, and version {version.version} of {MODEL_NAME} was"
            f" registered with {registered and registered[:12]}: evaluate {version_uri(version)}"
        )


def _mean_error(errors: pd.DataFrame) -> float:
    return float(np.average(errors["mpjpe_mm"], weights=errors["weight"]))


def _tag(client: Any, versions: list[ModelVersion | None], decision: dict[str, Any]) -> None:
    tags = {
        f"promotion.{key}": f"{value:.4g}" if isinstance(value, float) else str(value)
        for key, value in decision.items()
        if key != "version"
    }
    tags |= {
        "promotion.at": datetime.now(UTC).isoformat(timespec="seconds"),
        "promotion.challenger": decision["version"],
    }
    for version in versions:
        if version is not None:
            for key, value in tags.items():
                client.set_model_version_tag(MODEL_NAME, version.version, key, value)
