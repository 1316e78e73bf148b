"""Promotion of the challenger."""

from typing import Any

from prefect import flow
from prefect.artifacts import create_markdown_artifact

from data_contracts.parameters import EvaluateParameters, PromoteParameters, Runtime
from data_contracts.store.folders import default_store
from flows.evaluate import evaluate
from tasks.mlflow_runs.registry import CHALLENGER, MODEL_NAME
from tasks.promote import decide, find_contenders


@flow(name="promote")
def promote(
    windows: str | None = None,
    parameters: PromoteParameters = PromoteParameters(),
    evaluation: EvaluateParameters = EvaluateParameters(),
    runtime: Runtime = Runtime(),
    store: str | None = None,
) -> dict[str, Any]:
    """Evaluate `@challenger` and `@champion` on the same windows; `@champion` moves only to the better one.

    Parameters
    ----------
    windows
        Folder or digest of a convert stage; none: the windows that the challenger was evaluated on.
    """
    root = default_store(store)
    champion, folder = find_contenders(root, windows)
    challenger = f"models:/{MODEL_NAME}@{CHALLENGER}"
    reports = [
        evaluate(str(folder), model, evaluation, runtime, str(root)).path for model in (challenger, champion) if model
    ]
    decision = decide(root, reports[0], reports[1] if champion else None, parameters)
    create_markdown_artifact(
        f"**{'Promoted' if decision['promoted'] else 'Not promoted'}**: {decision['reason']}.", key="promotion"
    )
    return decision
