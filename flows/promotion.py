"""Move the champion forward to a better challenger, or back: the work of `uplift promote` and `uplift rollback`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from data_contracts.parameters import PipelineParameters
from data_contracts.store.manifests import read_manifest
from flows.prefect_ui.events import PROMOTED, ROLLED_BACK, emit_model_event
from tasks.promotion.comparison import Contenders, Ground
from tasks.promotion.decision import Decision
from tasks.promotion.promote import Meeting, decide, find_contenders, weigh
from tasks.promotion.rollback import swap_back
from tasks.promotion.rules import Check, Verdict


class Evaluate(Protocol):
    """Function that evaluates a model on windows and returns the folder of the report."""

    def __call__(self, windows: str, model: str, baselines: str | None = None) -> Path:
        """Return the folder of the report; `baselines` is as in the evaluate stage."""


def promote_challenger(
    store: Path,
    parameters: PipelineParameters,
    evaluate: Evaluate,
    version: int | None = None,
    approve: Callable[[Contenders, Verdict], Check] | None = None,
) -> Decision:
    """Move `@champion` to the challenger if it is better, and return the decision.

    Parameters
    ----------
    version
        Number of the challenger's version. Default: the version with the alias challenger.
    approve
        Called after all other checks passed; returns the check of a person.

    Raises
    ------
    InputError
        The challenger is missing, or the champion was moved during the evaluation.
    """
    contenders = find_contenders(store, version, parameters.evaluate.split, parameters.promote)
    meetings = [_meet(ground, contenders, evaluate) for ground in contenders.grounds]
    verdict = weigh(store, contenders, meetings, parameters.promote)
    approval = approve(contenders, verdict) if approve and verdict.promoted else None
    decision = decide(store, contenders, verdict, parameters.promote, approval)
    if decision.promoted:
        emit_model_event(PROMOTED, decision.headline)
    return decision


def _meet(ground: Ground, contenders: Contenders, evaluate: Evaluate) -> Meeting:
    """Evaluate both versions with the same baselines, because those of the champion's report may be deleted."""
    windows = str(ground.windows)
    first = evaluate(windows, contenders.challenger)
    if contenders.rival is None:
        return Meeting(ground, first, first)
    baselines = read_manifest(first)["inputs"]["baselines"]
    return Meeting(ground, first, evaluate(windows, contenders.rival, baselines))


def roll_back(store: Path, reason: str, who: str) -> dict[str, Any]:
    """Swap `@champion` and `@previous`, and return the record of the rollback.

    Raises
    ------
    InputError
        The champion or the version before it is missing.
    """
    outcome = swap_back(store, reason, who)
    emit_model_event(ROLLED_BACK, f"rolled back {rollback_headline(outcome)}")
    return outcome


def rollback_headline(outcome: dict[str, Any]) -> str:
    """Return one line about a rollback."""
    return f"from version {outcome['from']} to {outcome['to']} by {outcome['who']}: {outcome['reason']}."
