"""Day of a flow run, which seeds fresh training."""

from datetime import UTC, date

from prefect.runtime import flow_run


def day_of_run() -> date:
    """Return the day (UTC) for which the run was scheduled; a late start or a retry does not change it."""
    day: date = flow_run.scheduled_start_time.astimezone(UTC).date()
    return day
