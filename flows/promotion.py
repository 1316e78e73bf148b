"""Move the champion forward to a better challenger, or back: the work of `uplift promote` and `uplift rollback`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from data_contracts.store.manifests import read_manifest
from flows.prefect_ui.events import PROMOTED, ROLLED_BACK, emit_model_event
from tasks.promotion.comparison import Comparison, EvaluationData, find_comparison
from tasks.promotion.decision import Decision
from tasks.promotion.promote import PairedReports, decide, judge_reports, swap_back
from tasks.promotion.rules import Check, Verdict
from tasks.stage import Context

Evaluate = Callable[..., Path]  # the evaluate stage: (windows, model, baselines) -> folder of the report


def promote_challenger(
    context: Context,
    evaluate: Evaluate,
    version: int | None = None,
    approve: Callable[[Comparison, Verdict], Check] | None = None,
) -> Decision:
    """Move `@champion` to the challenger if it is better, and return the decision.

    Parameters
    ----------
    version
        Model version that is the challenger. Default: the version with the alias challenger.
    approve
        Called if all other checks passed; returns the check of a person. Default: no approval is required.

    Raises
    ------
    InputError
        The challenger is missing, or another process moved the champion during the evaluation.
    """
    store, parameters = context.store, context.parameters
    comparison = find_comparison(store, version, parameters.evaluate.split, parameters.promote)
    reports = [_evaluate_both(data, comparison, evaluate) for data in comparison.data]
    verdict = judge_reports(store, comparison, reports, parameters.promote)
    approval = approve(comparison, verdict) if approve and verdict.promoted else None
    decision = decide(store, comparison, verdict, parameters.promote, approval)
    if decision.promoted:
        emit_model_event(PROMOTED, decision.headline)
    return decision


def _evaluate_both(data: EvaluationData, comparison: Comparison, evaluate: Evaluate) -> PairedReports:
    """Evaluate both versions with the same baselines, because the baselines of the champion's report may be deleted."""
    windows = str(data.windows)
    first = evaluate(windows, comparison.challenger)
    if comparison.compared_champion is None:
        return PairedReports(data, first, first)
    baselines = read_manifest(first)["inputs"]["baselines"]
    return PairedReports(data, first, evaluate(windows, comparison.compared_champion, baselines))


def roll_back(store: Path, reason: str, who: str) -> dict[str, Any]:
    """Swap `@champion` and `@previous`, and return the record of the rollback.

    Raises
    ------
    InputError
        No version is `@champion`, no version is `@previous`, or both are the same version.
    """
    outcome = swap_back(store, reason, who)
    emit_model_event(ROLLED_BACK, f"rolled back {rollback_headline(outcome)}")
    return outcome


def rollback_headline(outcome: dict[str, Any]) -> str:
    """Return one line about a rollback, from its record."""
    return f"from version {outcome['from']} to {outcome['to']} by {outcome['who']}: {outcome['reason']}."
