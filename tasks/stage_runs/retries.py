"""Retries of tasks.

Tasks have retries and flows have none: a flow that is retried loses the lease of its deployment's concurrency limit
(PrefectHQ/prefect#20251). A task has retries only if it leaves a complete result or nothing, like a stage.
"""

from typing import Any

from data_contracts.errors import InputError


def unless_refused(_task: Any, _run: Any, state: Any) -> bool:
    """Return whether to retry a failed task (Prefect's `retry_condition_fn`): an invalid input never becomes valid."""
    return not isinstance(state.result(raise_on_failure=False), InputError)


# random delays: tasks that fail together, e.g. during the restart of a server, do not retry at the same moment
RETRIED: dict[str, Any] = {
    "retries": 2,
    "retry_delay_seconds": [5, 60],
    "retry_jitter_factor": 0.5,
    "retry_condition_fn": unless_refused,
}
