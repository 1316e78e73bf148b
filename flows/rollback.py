"""Prefect flow that moves the champion back to the version before it."""

from typing import Any

from prefect import flow
from prefect.artifacts import create_markdown_artifact

from data_contracts.store.folders import default_store
from data_contracts.text import markdown_text
from flows.prefect_ui.forms import described
from flows.promotion import roll_back, rollback_headline
from flows.stage_runs.naming import name_flow_run


@flow(name="rollback", flow_run_name=name_flow_run)
@described
def rollback(reason: str, who: str, store: str | None = None) -> dict[str, Any]:
    """Swap `@champion` and `@previous`.

    Parameters
    ----------
    reason
        Reason of the rollback, which both versions keep as a tag.
    who
        Name of the person who decided the rollback, which both versions keep as a tag.
    """
    outcome = roll_back(default_store(store), reason, who)
    create_markdown_artifact(f"**Rolled back** {markdown_text(rollback_headline(outcome))}", key="rollback")
    return outcome
