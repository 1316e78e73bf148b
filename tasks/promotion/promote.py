"""Promotion and rollback: compare challenger and champion on the same windows, and move the aliases.

- Versions are compared by number, so an alias that moves during the comparison does not change the comparison.
- If the registry does not answer, the task raises an error; it never assumes that no version is champion.
- A decision is written before the aliases move; the next call completes an interrupted move.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.entities.model_registry import ModelVersion

from data_contracts.errors import InputError
from data_contracts.parameters import PromoteParameters
from data_contracts.report import BASELINES, read_errors, read_report
from data_contracts.store.checking import verify_input
from data_contracts.store.locks import locked
from data_contracts.store.manifests import read_manifest
from model.scoring.intervals import difference
from tasks.promotion.comparison import Comparison, EvaluationData
from tasks.promotion.decision import TAG_LENGTH, Decision, read_decision, record_decision
from tasks.promotion.rules import Check, Errors, Verdict, judge, judge_first, refused
from tasks.stage_runs.prefect_runs import task
from tasks.tracking.alias_moves import complete_move, move_aliases
from tasks.tracking.connection import connect
from tasks.tracking.names import CHAMPION, CHECKPOINT_TAG, MODEL_NAME, PREVIOUS, ROLLBACK_TAG
from tasks.tracking.registry import aliased_versions, find_version, version_uri

LOCK = ".promotion.lock"


@dataclass(frozen=True)
class PairedReports:
    """Report folders of challenger and champion on the same windows.

    If the challenger is compared with the baselines, both folders are the report of the challenger.
    """

    data: EvaluationData
    challenger: Path
    champion: Path


@task(retried=True)
def judge_reports(
    store: Path, comparison: Comparison, reports: Sequence[PairedReports], parameters: PromoteParameters
) -> Verdict:
    """Return the verdict on all reports together (`tasks.promotion.rules`).

    If a report belongs to another checkpoint than the version, an InputError is raised.
    """
    if comparison.refusal:
        return refused(comparison.refusal)
    client = connect(store)
    for pair in reports:
        _must_belong_to(find_version(client, comparison.challenger), pair.challenger)
        if comparison.compared_champion:
            _must_belong_to(find_version(client, comparison.compared_champion), pair.champion)
    if comparison.compared_champion is None:
        return judge_first({name: _differences(reports, name) for name in BASELINES}, parameters)
    noise = [_noise(pair) for pair in reports]
    return judge(_differences(reports), [of_both for of_both in noise if of_both], parameters)


@task()
def decide(
    store: Path, comparison: Comparison, verdict: Verdict, parameters: PromoteParameters, approval: Check | None = None
) -> Decision:
    """Write the decision, as an MLflow run and a tag of the challenger; move `@champion` if every check passed.

    The old champion becomes `@previous`. If an earlier call was killed during the move of the aliases to this
    challenger, this call completes the move and returns the earlier decision.

    Raises
    ------
    InputError
        The champion is no longer the version that was compared.
    """
    client = connect(store)
    if approval:
        verdict = replace(verdict, checks=(*verdict.checks, approval))
    with locked(store / LOCK, "promotion"):
        champion = aliased_versions(client).get(CHAMPION)
        if (champion and version_uri(champion)) != comparison.champion:
            current = version_uri(champion) if champion else "no version"
            raise InputError(
                f"{MODEL_NAME}@{CHAMPION} was moved from {comparison.champion or 'no version'} to {current} during the"
                " comparison; promote again"
            )
        challenger = find_version(client, comparison.challenger)
        interrupted = complete_move(client)
        decision = Decision.of(comparison, verdict)
        if champion is not None and champion.version == challenger.version:
            if interrupted is not None and interrupted.kind == "promotion":
                return read_decision(store, interrupted.record)
            return decision
        decision = record_decision(store, decision, parameters)
        if decision.promoted:
            previous = str(champion.version) if champion else None
            move_aliases(client, "promotion", str(decision.mlflow_run), str(challenger.version), previous)
    return decision


@task()
def swap_back(store: Path, reason: str, who: str) -> dict[str, Any]:
    """Swap `@champion` and `@previous`, and tag both versions with the person and the reason.

    The old champion cannot be promoted again until its rollback tag is deleted. If an earlier rollback was killed, this
    call completes that rollback and returns its record, and does not swap again. If an alias is missing or both are on
    one version, an InputError is raised.
    """
    client = connect(store)
    with locked(store / LOCK, "rollback"):
        versions = aliased_versions(client)
        if CHAMPION not in versions:
            raise InputError(f"no model version is {MODEL_NAME}@{CHAMPION}: there is nothing to roll back")
        champion, interrupted = versions[CHAMPION], complete_move(client)
        if interrupted is not None and interrupted.kind == "rollback":
            return dict(json.loads(champion.tags[interrupted.record]))
        previous = versions.get(PREVIOUS)
        if previous is None:
            raise InputError(f"no model version is {MODEL_NAME}@{PREVIOUS}: there is nothing to roll back to")
        if previous.version == champion.version:
            both = f"{MODEL_NAME}@{CHAMPION} and @{PREVIOUS} are both version {champion.version}"
            raise InputError(f"{both}: set @{PREVIOUS} in MLflow to the version to return to")
        result = {"name": MODEL_NAME, "from": int(champion.version), "to": int(previous.version)}
        result |= {"at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}", "who": who, "reason": reason[: TAG_LENGTH // 2]}
        for version in (champion, previous):
            client.set_model_version_tag(MODEL_NAME, version.version, ROLLBACK_TAG, json.dumps(result))
        move_aliases(client, "rollback", ROLLBACK_TAG, str(previous.version), str(champion.version))
    return result


def _differences(reports: Sequence[PairedReports], baseline: str | None = None) -> Errors:
    """Return the score differences to the champion, or to a baseline, on all windows without excluded subjects."""
    tables = []
    for pair in reports:
        other = read_errors(pair.challenger, baseline) if baseline else read_errors(pair.champion)
        table = difference(read_errors(pair.challenger), reference=other)
        clips_digest = read_manifest(pair.data.windows)["inputs"]["clips"]
        # a clip that is in two windows folders counts as one clip
        table["clip_id"] = clips_digest + ":" + table["clip_id"].astype(str)
        tables.append(table[~table["group"].isin(pair.data.excluded)])
    return pd.concat(tables, ignore_index=True)


def _noise(pair: PairedReports) -> tuple[float, float] | None:
    """Return the MPJPE (mm) of both versions under noise; None if it was not measured, or subjects are excluded."""
    if pair.data.excluded:
        return None
    robustness = [read_report(folder).robustness for folder in (pair.challenger, pair.champion)]
    noise = [scores.mpjpe_mm["noise"]["model"] for scores in robustness if scores]
    return (noise[0], noise[1]) if len(noise) == len(robustness) else None


def _must_belong_to(version: ModelVersion, report: Path) -> None:
    """Raise an InputError if the report is not of the checkpoint of the version."""
    verify_input(report)
    evaluated, registered = read_manifest(report)["inputs"]["checkpoint"], version.tags.get(CHECKPOINT_TAG)
    if evaluated != registered:
        raise InputError(
            f"{report}: is the report of checkpoint {evaluated[:12]}, but version {version.version} of {MODEL_NAME} has"
            f" checkpoint {registered and registered[:12]}; evaluate it again: uplift evaluate WINDOWS --model"
            f" {version_uri(version)}"
        )
