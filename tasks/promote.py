"""Promotion: challenger against champion on the same windows; the alias moves only to the better one.

Versions are numbers from the first look at the registry to the last: an alias that is moved in between moves nothing
here. What could not be asked is an error, never "there is none".
"""

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock
from mlflow.entities.model_registry import ModelVersion
from prefect import task
from prefect.cache_policies import NO_CACHE

from data_contracts.errors import InputError
from data_contracts.parameters import PromoteParameters
from data_contracts.report import BASELINES, read_errors, read_report
from data_contracts.store.folders import resolve
from data_contracts.store.manifests import read_manifest
from tasks.mlflow_runs.registry import (
    CHALLENGER,
    CHAMPION,
    CHECKPOINT_TAG,
    MODEL_NAME,
    PREVIOUS,
    WINDOWS_TAG,
    aliased_versions,
    version_uri,
)
from tasks.mlflow_runs.runs import connect
from tasks.promotion.verdict import Verdict, judge, judge_first

TAG_LENGTH = 5000  # of a version's tag, in MLflow's SQL stores
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
    """Move `@champion` to the challenger if it is better on the same windows, and tag both with why.

    What is asked of it says `tasks.promotion.verdict`. The old champion becomes `@previous`. One decision is taken at a
    time.

    Returns
    -------
    dict
        `version`, `champion` (numbers), `promoted`, `reason`, `checks`, and `difference`, an estimate of the MPJPE's.

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
        decision: dict[str, Any] = {"version": int(challenger.version)}
        if champion is not None and champion.version == challenger.version:
            return decision | {"promoted": False, "reason": "the challenger is the champion already"}
        if (champion and version_uri(champion)) != contenders.champion:
            now = f"version {champion.version}" if champion else "nobody"
            was = contenders.champion or "nobody"
            raise InputError(f"{MODEL_NAME}@{CHAMPION} is {now}, and {was} was compared: it was moved; promote again")
        verdict = _verdict(challenger_report, champion, champion_report, parameters)
        decision |= {
            "champion": int(champion.version) if champion else None,
            "promoted": verdict.promoted,
            "reason": verdict.reason,
            "checks": [asdict(check) for check in verdict.checks],
            "difference": verdict.differences.mpjpe_mm.model_dump(),
        }
        if verdict.promoted:
            if champion is not None:
                client.set_registered_model_alias(MODEL_NAME, PREVIOUS, champion.version)
            client.set_registered_model_alias(MODEL_NAME, CHAMPION, challenger.version)
        _tag(client, [challenger, champion], decision)
    return decision


def _verdict(
    challenger: Path, champion: ModelVersion | None, champion_report: Path | None, parameters: PromoteParameters
) -> Verdict:
    errors = read_errors(challenger)
    if champion is None or champion_report is None:
        return judge_first(errors, {name: read_errors(challenger, name) for name in BASELINES}, parameters)
    _must_be_about(champion, champion_report)
    robust = [read_report(folder).robustness for folder in (challenger, champion_report)]
    noise = [found.mpjpe_mm["noise"]["model"] for found in robust if found]
    return judge(errors, read_errors(champion_report), (noise[0], noise[1]) if len(noise) == 2 else None, parameters)


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


def _tag(client: Any, versions: list[ModelVersion | None], decision: dict[str, Any]) -> None:
    """Each comparison has a tag of its own on both versions, as `promotion.3-1`; the newest is in plain tags too."""
    rival = decision["champion"] or "baselines"
    said = {"at": datetime.now(UTC).isoformat(timespec="seconds"), **decision}
    tags = {
        f"promotion.{decision['version']}-{rival}": json.dumps(said),
        "promotion.promoted": str(decision["promoted"]),
        "promotion.reason": decision["reason"],
    }
    for version in versions:
        if version is not None:
            for key, value in tags.items():
                client.set_model_version_tag(MODEL_NAME, version.version, key, value[:TAG_LENGTH])


@task(cache_policy=NO_CACHE)
def swap_back(store: Path, reason: str, who: str) -> dict[str, Any]:
    """`@champion` and `@previous` change places; the version that comes back is tagged with who asked for it and why.

    Raises
    ------
    InputError
        There is no champion, or none before it.
    MlflowException
        The registry could not be asked.
    """
    client = connect(store)
    with FileLock(store / _LOCK):
        versions = aliased_versions(client)
        champion, previous = versions.get(CHAMPION), versions.get(PREVIOUS)
        if champion is None or previous is None:
            missing = CHAMPION if champion is None else PREVIOUS
            raise InputError(f"no model version is {MODEL_NAME}@{missing}: there is nothing to go back to")
        client.set_registered_model_alias(MODEL_NAME, PREVIOUS, champion.version)
        client.set_registered_model_alias(MODEL_NAME, CHAMPION, previous.version)
        said = {"name": MODEL_NAME, "from": int(champion.version), "to": int(previous.version)}
        said |= {"who": who, "reason": reason}
        at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")  # MLflow takes no + in the name of a tag
        for version in (champion, previous):
            client.set_model_version_tag(MODEL_NAME, version.version, f"rollback.{at}", json.dumps(said)[:TAG_LENGTH])
    return said
