"""Promotion of the challenger."""

from pathlib import Path
from typing import Any

from prefect import flow
from prefect.artifacts import create_markdown_artifact

from data_contracts.parameters import BaselinesParameters, EvaluateParameters, PromoteParameters, Runtime
from data_contracts.store.folders import default_store
from flows.evaluate import evaluate
from flows.stage_runs.naming import name_flow_run
from tasks.promote import decide, find_contenders


@flow(name="promote", flow_run_name=name_flow_run)
def promote(
    windows: str | None = None,
    parameters: PromoteParameters = PromoteParameters(),
    evaluation: EvaluateParameters = EvaluateParameters(),
    runtime: Runtime = Runtime(),
    store: str | None = None,
    fit: BaselinesParameters = BaselinesParameters(),
) -> dict[str, Any]:
    """Evaluate `@challenger` and `@champion` on the same windows; `@champion` moves only to the better one.

    Parameters
    ----------
    windows
        Folder or digest of a convert stage; none: the windows that the challenger was evaluated on.
    fit
        How the baselines beside both are fitted, where the store does not have them.
    """
    root = default_store(store)
    contenders = find_contenders(root, windows)

    def report(uri: str) -> Path:
        return evaluate(str(contenders.windows), uri, evaluation, runtime, str(root), fit=fit).path

    champion = report(contenders.champion) if contenders.champion else None
    decision = decide(root, contenders, report(contenders.challenger), champion, parameters)
    create_markdown_artifact(
        f"**{'Promoted' if decision['promoted'] else 'Not promoted'}**: {decision['reason']}.\n\n"
        + "\n".join(f"- {'passed' if c['passed'] else '**failed**'}: {c['said']}" for c in decision.get("checks", [])),
        key="promotion",
    )
    return decision
