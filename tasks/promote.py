"""Promotion: challenger against champion on the same windows; the alias moves only to the better one."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.entities.model_registry import ModelVersion
from prefect import task
from prefect.cache_policies import NO_CACHE

from data_contracts.errors import InputError
from data_contracts.parameters import PromoteParameters
from data_contracts.report import ERRORS_FILE
from data_contracts.store.folders import resolve
from tasks.mlflow_runs.registry import CHALLENGER, CHAMPION, MODEL_NAME, WINDOWS_TAG, version_at
from tasks.mlflow_runs.runs import connect


@task(cache_policy=NO_CACHE)
def find_contenders(store: Path, windows: str | None) -> tuple[str | None, Path]:
    """URI of the champion (none: there is no champion yet, or the challenger is it), and the windows to compare on.

    Raises
    ------
    InputError
        There is no challenger, or the windows it was evaluated on are gone.
    """
    client = connect(store)
    challenger, champion = version_at(client, CHALLENGER), version_at(client, CHAMPION)
    if challenger is None:
        raise InputError(f"no model version is {MODEL_NAME}@{CHALLENGER}: run a pipeline first")
    folder = resolve(store, "windows", windows or challenger.tags.get(WINDOWS_TAG, ""))
    return (f"models:/{MODEL_NAME}@{CHAMPION}" if champion else None), folder


@task(cache_policy=NO_CACHE)
def decide(
    store: Path, challenger_report: Path, champion_report: Path | None, parameters: PromoteParameters
) -> dict[str, Any]:
    """Move `@champion` to the challenger if its error is lower on the same windows, and tag both with why.

    The paired difference is resampled by clip: windows of one clip are not independent. The alias moves when the whole
    bootstrap interval lies below zero, or when there is no champion yet.

    Returns
    -------
    dict
        `promoted`, `reason`, `challenger_mpjpe_mm`, `champion_mpjpe_mm`, `difference_mm`, `interval_mm`, `version`.
    """
    client = connect(store)
    challenger, champion = version_at(client, CHALLENGER), version_at(client, CHAMPION)
    if challenger is None:
        raise InputError(f"no model version is {MODEL_NAME}@{CHALLENGER}: run a pipeline first")
    errors = pd.read_parquet(challenger_report / ERRORS_FILE)
    decision: dict[str, Any] = {"version": int(challenger.version), "challenger_mpjpe_mm": _mean_error(errors)}
    if champion is None or champion_report is None:
        decision |= {"promoted": True, "reason": "there was no champion"}
    elif champion.version == challenger.version:
        decision |= {"promoted": False, "reason": "the challenger is the champion already"}
    else:
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
