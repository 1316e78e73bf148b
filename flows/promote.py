"""Prefect flows that promote the challenger, after the approval of a person if required, and roll back."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefect import get_run_logger, suspend_flow_run
from prefect.artifacts import create_markdown_artifact
from prefect.input import RunInput
from prefect.runtime import deployment
from prefect.states import Completed

from data_contracts.errors import InputError
from data_contracts.parameters.presets import DEFAULT, load_preset
from data_contracts.store.folders import default_store
from data_contracts.text import markdown_text
from flows import stage_flows
from flows.prefect_ui.artifacts import show_page
from flows.prefect_ui.flow import uplift_flow
from flows.promotion import promote_challenger, roll_back, rollback_headline
from tasks.promotion.comparison import Comparison
from tasks.promotion.decision import DECISION_PAGE, Decision
from tasks.promotion.rules import Check, Verdict
from tasks.stage import Context
from tasks.tracking.links import run_artifact


class Approval(RunInput):
    """Answer of a person to the question whether to promote a challenger that passed all other checks."""

    approve: bool
    who: str
    why: str = ""


@uplift_flow
def promote(
    version: int | None = None,
    require_approval: bool = False,
    preset: str = DEFAULT,
    overrides: Sequence[str] = (),
    store: str | None = None,
) -> Any:
    """Evaluate `@challenger` and `@champion` on the same windows; `@champion` moves only to the better one.

    Parameters
    ----------
    version
        Model version that is the challenger. Default: the version with the alias challenger.
    require_approval
        Suspend the flow run after all checks passed, until a person resumes it with an approval. Only a run of a
        deployment can be suspended.
    """
    context = Context(default_store(store), load_preset(preset, overrides))
    if require_approval and deployment.id is None:
        raise InputError(
            "require_approval suspends the run of a deployment, but this run has no deployment; start it with: prefect"
            " deployment run promote/promote-challenger --param require_approval=true"
        )
    shared = {"preset": preset, "overrides": overrides, "store": str(context.store)}

    def evaluate(windows: str, model: str, baselines: str | None = None) -> Path:
        return stage_flows.evaluate(windows, model, baselines, **shared).path

    decision = promote_challenger(context, evaluate, version, _ask if require_approval else None)
    get_run_logger().info(decision.headline)
    create_markdown_artifact(decision.markdown(), key="promotion", description=markdown_text(decision.headline))
    if decision.mlflow_run:
        show_page(
            run_artifact(context.store, decision.mlflow_run, DECISION_PAGE), "promotion-run", "the decision in MLflow"
        )
    return Completed(message=decision.headline, data=decision.model_dump(mode="json"))


def _ask(comparison: Comparison, verdict: Verdict) -> Check:
    """Suspend the run until a person answers; return the answer as a check, valid for these two versions only."""
    decision = Decision.of(comparison, verdict)
    create_markdown_artifact(decision.markdown(), key="promotion", description="The run waits for an approval.")
    form = Approval.with_initial_data(description=decision.markdown())
    answer = suspend_flow_run(wait_for_input=form, key=f"promote-{decision.version}-{decision.champion}")
    why, verb = f": {answer.why}" if answer.why else "", "approved" if answer.approve else "declined"
    return Check("approved by a person", answer.approve, f"{answer.who} {verb}{why}")


@uplift_flow
def rollback(reason: str, who: str, store: str | None = None) -> dict[str, Any]:
    """Swap `@champion` and `@previous`.

    Parameters
    ----------
    who
        Name of the person who decided the rollback; both versions keep the name in a tag.
    """
    outcome = roll_back(default_store(store), reason, who)
    create_markdown_artifact(f"**Rolled back** {markdown_text(rollback_headline(outcome))}", key="rollback")
    return outcome
