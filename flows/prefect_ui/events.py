"""What the flows say to whoever listens: events, which automations send on."""

from prefect.events import emit_event

MODEL_RESOURCE = "uplift.model.pose-uplift"
PROMOTED, ROLLED_BACK = "uplift.model.promoted", "uplift.model.rolled-back"


def say_of_model(event: str, headline: str) -> None:
    """`PROMOTED` or `ROLLED_BACK`, in a line; of a server that nobody listens to, nothing comes of it."""
    emit_event(event, {"prefect.resource.id": MODEL_RESOURCE}, payload={"headline": headline})
