"""The day that a flow run is of."""

from datetime import UTC, date

from prefect.runtime import flow_run


def day_of_run() -> date:
    """In UTC, of the time for which it was scheduled: a run that starts late, or again, is of the same day."""
    day: date = flow_run.scheduled_start_time.astimezone(UTC).date()
    return day
