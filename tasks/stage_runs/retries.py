"""When a task is worth trying again."""

from typing import Any

from data_contracts.errors import InputError


def unless_refused(_task: Any, _run: Any, state: Any) -> bool:
    """Prefect `retry_condition_fn`: a refused input stays refused, anything else may pass the second time."""
    return not isinstance(state.result(raise_on_failure=False), InputError)
