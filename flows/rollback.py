"""Back to the champion before."""

from typing import Any

from prefect import flow
from prefect.artifacts import create_markdown_artifact

from data_contracts.store.folders import default_store
from data_contracts.text import markdown_text
from flows.prefect_ui.events import ROLLED_BACK, say_of_model
from flows.prefect_ui.forms import described
from flows.stage_runs.naming import name_flow_run
from tasks.promotion.rollback import swap_back


@flow(name="rollback", flow_run_name=name_flow_run)
@described
def rollback(reason: str, who: str, store: str | None = None) -> dict[str, Any]:
    """`@champion` goes back to the version before it, which it changes places with.

    Parameters
    ----------
    reason
        Reason of the rollback, which both versions keep as a tag.
    who
        Person who asks for the rollback; both versions keep the name as a tag.
    """
    said = swap_back(default_store(store), reason, who)
    headline = f"from version {said['from']} to {said['to']} by {who}: {reason}."
    create_markdown_artifact(f"**Rolled back** {markdown_text(headline)}", key="rollback")
    say_of_model(ROLLED_BACK, f"rolled back {headline}")
    return said
