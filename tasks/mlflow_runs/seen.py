"""A run as a glance sees it."""

from dataclasses import dataclass, field

TIMEOUT_SECONDS = 1.0  # that a glance waits for an answer


@dataclass(frozen=True)
class SeenRun:
    """A run; times in seconds since 1970, `ended` none of one that goes on."""

    run_id: str
    name: str
    status: str
    began: float
    ended: float | None
    tags: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
