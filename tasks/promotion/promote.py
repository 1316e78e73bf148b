"""Promotion: compare challenger and champion on the same windows, and move the alias only to the better one.

Versions are compared by number, so an alias that moves meanwhile changes nothing here. If the registry does not answer,
the task raises; it never assumes that there is no champion. A decision is written before the aliases move, and the next
call completes a move that was interrupted (`tasks.tracking.alias_moves`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
from mlflow.entities.model_registry import ModelVersion

from data_contracts.errors import InputError
from data_contracts.parameters import PromoteParameters
from data_contracts.report import BASELINES, read_errors, read_report
from data_contracts.store.checking import verify_input
from data_contracts.store.locks import hold
from data_contracts.store.manifests import read_manifest
from model.scoring.intervals import difference
from tasks.promotion.comparison import Contenders, Ground, choose
from tasks.promotion.decision import Decision, read_decision, write_down
from tasks.promotion.rules import Check, Errors, Verdict, judge, judge_first, refused
from tasks.stage_runs.prefect_runs import task
from tasks.tracking.alias_moves import complete_move, move_aliases
from tasks.tracking.registry import (
    CHAMPION,
    CHECKPOINT_TAG,
    MODEL_NAME,
    aliased_versions,
    find_version,
    version_uri,
)
from tasks.tracking.runs import connect

LOCK = ".promotion.lock"


@dataclass(frozen=True)
class Meeting:
    """Reports of both on the same windows; `rival` is the challenger's own where the baselines are to be beaten."""

    ground: Ground
    challenger: Path
    rival: Path


@task(retried=True)
def find_contenders(store: Path, version: int | None, split: str, parameters: PromoteParameters) -> Contenders:
    """Who is compared with whom on which windows: `tasks.promotion.comparison.choose`."""
    return choose(store, version, split, parameters)


@task(retried=True)
def weigh(store: Path, contenders: Contenders, meetings: Sequence[Meeting], parameters: PromoteParameters) -> Verdict:
    """What the reports say, all windows taken together: `tasks.promotion.rules`.

    Raises
    ------
    InputError
        A report is not about the version.
    MlflowException
        The registry could not be asked.
    """
    if contenders.refusal:
        return refused(contenders.refusal)
    client = connect(store)
    for meeting in meetings:
        _must_be_about(find_version(client, contenders.challenger), meeting.challenger)
        if contenders.rival:
            _must_be_about(find_version(client, contenders.rival), meeting.rival)
    if contenders.rival is None:
        return judge_first({name: _pairs(meetings, name) for name in BASELINES}, parameters)
    noise = [_noise(meeting) for meeting in meetings]
    return judge(_pairs(meetings), [of_both for of_both in noise if of_both], parameters)


@task()
def decide(
    store: Path, contenders: Contenders, verdict: Verdict, parameters: PromoteParameters, approval: Check | None = None
) -> Decision:
    """Write the decision (an MLflow run, tags of both versions), and move `@champion` if every check is passed.

    The old champion becomes `@previous`. A lock admits one decision at a time. If an earlier call was killed while it
    moved the aliases to this challenger, this call completes the move and returns the decision of the earlier call.

    Parameters
    ----------
    approval
        What a person said of it, where one was asked.

    Raises
    ------
    InputError
        The champion is no longer the one that was compared.
    MlflowException
        The registry could not be asked.
    """
    client = connect(store)
    if approval:
        verdict = replace(verdict, checks=(*verdict.checks, approval))
    with hold(store / LOCK, "promotion"):
        champion = aliased_versions(client).get(CHAMPION)
        if (champion and version_uri(champion)) != contenders.champion:
            now, was = version_uri(champion) if champion else "nobody", contenders.champion or "nobody"
            raise InputError(f"{MODEL_NAME}@{CHAMPION} is {now}, and {was} was compared: it was moved; promote again")
        challenger = find_version(client, contenders.challenger)
        interrupted = complete_move(client)
        decision = Decision.of(contenders, verdict)
        if champion is not None and champion.version == challenger.version:
            if interrupted is not None and interrupted.kind == "promotion":
                return read_decision(store, interrupted.record)
            return decision
        decision = write_down(store, decision, [challenger, *([champion] if champion else [])], parameters)
        if decision.promoted:
            previous = str(champion.version) if champion else None
            move_aliases(client, "promotion", str(decision.mlflow_run), str(challenger.version), previous)
    return decision


def _pairs(meetings: Sequence[Meeting], baseline: str | None = None) -> Errors:
    """Differences to the rival, or to a baseline, on all windows folders, of the people that count.

    A clip in two folders that were cut from the same clips is one clip.
    """
    tables = []
    for meeting in meetings:
        rival = read_errors(meeting.challenger, baseline) if baseline else read_errors(meeting.rival)
        pairs = difference(read_errors(meeting.challenger), than=rival)
        of_clips = read_manifest(meeting.ground.windows)["inputs"]["clips"]
        pairs["clip_id"] = of_clips + ":" + pairs["clip_id"].astype(str)
        tables.append(pairs[~pairs["group"].isin(meeting.ground.left_out)])
    return pd.concat(tables, ignore_index=True)


def _noise(meeting: Meeting) -> tuple[float, float] | None:
    """MPJPE of challenger and rival under noise; none where it was not scored, or on people who do not count."""
    if meeting.ground.left_out:
        return None
    robust = [read_report(folder).robustness for folder in (meeting.challenger, meeting.rival)]
    noise = [found.mpjpe_mm["noise"]["model"] for found in robust if found]
    return (noise[0], noise[1]) if len(noise) == len(robust) else None


def _must_be_about(version: ModelVersion, report: Path) -> None:
    """The report's checkpoint is the version's, to the byte."""
    verify_input(report)
    examined, registered = read_manifest(report)["inputs"]["checkpoint"], version.tags.get(CHECKPOINT_TAG)
    if examined != registered:
        raise InputError(
            f"{report}: is about a checkpoint {examined[:12]}, and version {version.version} of {MODEL_NAME} was"
            f" registered with {registered and registered[:12]}: evaluate {version_uri(version)}"
        )
