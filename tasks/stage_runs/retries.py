"""When a task is worth trying again, and how.

Retries stand on tasks, never on flows: a flow that is tried again loses the lease of its deployment's concurrency
limit (PrefectHQ/prefect#20251). A task has them where what it does is whole or not at all, as a stage is.
"""

from typing import Any

from data_contracts.errors import InputError


def unless_refused(_task: Any, _run: Any, state: Any) -> bool:
    """Prefect `retry_condition_fn`: a refused input stays refused, anything else may pass the second time."""
    return not isinstance(state.result(raise_on_failure=False), InputError)


# a moment later, and not all at once: what fails together (a server is started anew, a file system gone) comes back so
RETRIED: dict[str, Any] = {
    "retries": 2,
    "retry_delay_seconds": [5, 60],
    "retry_jitter_factor": 0.5,
    "retry_condition_fn": unless_refused,
}
