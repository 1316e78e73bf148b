"""Promotion of the challenger."""

from collections.abc import Sequence
from typing import Any

from prefect import flow, get_run_logger, suspend_flow_run
from prefect.artifacts import create_markdown_artifact
from prefect.input import RunInput
from prefect.runtime import deployment
from prefect.states import Completed

from data_contracts.errors import InputError
from data_contracts.presets import DEFAULT, load_preset
from data_contracts.store.folders import default_store
from data_contracts.store.manifests import read_manifest
from data_contracts.text import markdown_text
from flows.prefect_ui.artifacts import show_page
from flows.prefect_ui.events import PROMOTED, say_of_model
from flows.prefect_ui.forms import described
from flows.stage_flows import evaluate
from flows.stage_runs.naming import name_flow_run
from tasks.promotion.comparison import Comparison, EvaluationData
from tasks.promotion.decision import DECISION_PAGE, Decision
from tasks.promotion.promote import PairedReports, decide, find_comparison, judge_reports
from tasks.promotion.rules import Check, Verdict
from tasks.tracking.links import run_artifact


class Approval(RunInput):
    """What a person says of a challenger that passed every check."""

    approve: bool
    who: str
    why: str = ""


@flow(name="promote", flow_run_name=name_flow_run)
@described
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
        Number of the challenger's version. Default: the version with the alias challenger.
    require_approval
        Suspend the flow run after all checks passed, until a person resumes it with an approval. Only a run of a
        deployment can be suspended.

    Returns
    -------
    dict
        A `tasks.promotion.decision.Decision` as JSON. Its headline is the final state's message.
    """
    parameters = load_preset(preset, overrides)
    if require_approval and deployment.id is None:
        raise InputError(
            "require_approval suspends a run of a deployment, and this is none: prefect deployment run promote/cpu"
            " --param require_approval=true"
        )
    root = default_store(store)
    comparison = find_comparison(root, version, parameters.evaluate.split, parameters.promote)
    shared: dict[str, Any] = {"preset": preset, "overrides": overrides, "store": str(root)}
    reports = [_evaluate_both(data, comparison, shared) for data in comparison.data]
    verdict = judge_reports(root, comparison, reports, parameters.promote)
    approval = _ask(comparison, verdict) if require_approval and verdict.promoted else None
    decision = decide(root, comparison, verdict, parameters.promote, approval)
    get_run_logger().info(decision.headline)
    create_markdown_artifact(decision.markdown(), key="promotion", description=markdown_text(decision.headline))
    if decision.promoted:
        say_of_model(PROMOTED, decision.headline)
    if decision.mlflow_run:
        show_page(run_artifact(root, decision.mlflow_run, DECISION_PAGE), "promotion-run", "the decision in MLflow")
    return Completed(message=decision.headline, data=decision.model_dump(mode="json"))


def _evaluate_both(data: EvaluationData, comparison: Comparison, shared: dict[str, Any]) -> PairedReports:
    """Both evaluated on the same windows, beside the same baselines: those of the rival's time may be gone."""
    windows = str(data.windows)
    first = evaluate(windows, comparison.challenger, **shared).path
    if comparison.compared_champion is None:
        return PairedReports(data, first, first)
    beside = read_manifest(first)["inputs"]["baselines"]
    return PairedReports(data, first, evaluate(windows, comparison.compared_champion, baselines=beside, **shared).path)


def _ask(comparison: Comparison, verdict: Verdict) -> Check:
    """What a person says of it. Asked once of two versions: should another be champion by then, it is asked again."""
    decision = Decision.of(comparison, verdict)
    create_markdown_artifact(decision.markdown(), key="promotion", description="A person is asked.")
    asked = Approval.with_initial_data(description=decision.markdown())
    said = suspend_flow_run(wait_for_input=asked, key=f"promote-{decision.version}-{decision.champion}")
    why = f": {said.why}" if said.why else ""
    return Check("approved by a person", said.approve, f"{said.who} {'approved' if said.approve else 'declined'}{why}")
