"""Events about the champion, which automations turn into notifications."""

import os

from tasks.stage_runs.prefect_runs import in_prefect_run

MODEL_RESOURCE = "uplift.model.pose-uplift"
PROMOTED, ROLLED_BACK = "uplift.model.promoted", "uplift.model.rolled-back"
SECONDS = 30.0  # longest wait of a command until its event is sent


def emit_model_event(event: str, headline: str) -> None:
    """Emit the event `PROMOTED` or `ROLLED_BACK` with `headline`; in a command only if `PREFECT_API_URL` is set."""
    if not in_prefect_run() and not os.environ.get("PREFECT_API_URL"):
        return
    from prefect.events import emit_event
    from prefect.events.worker import EventsWorker

    emit_event(event, {"prefect.resource.id": MODEL_RESOURCE}, payload={"headline": headline})
    if not in_prefect_run():
        EventsWorker.drain_all(timeout=SECONDS)
