"""Use Prefect for work of a flow run, and plain Python for work of a command.

- A command does not import Prefect. The import takes seconds, and a task outside a flow run starts a temporary server.
- A process that executes a flow has imported Prefect, so `sys.modules` answers the question without an import.
"""

import logging
import sys
from collections.abc import Callable
from functools import cached_property, update_wrapper
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

from tasks.stage_runs.retries import RETRIED

if TYPE_CHECKING:
    from prefect import Task

LOGGER = "uplift"  # of work outside flow runs
Inputs = ParamSpec("Inputs")
Result = TypeVar("Result")


def in_prefect_run() -> bool:
    """Return whether a flow run or a task run of Prefect executes this code."""
    context = sys.modules.get("prefect.context")
    return context is not None and bool(context.FlowRunContext.get() or context.TaskRunContext.get())


def run_logger() -> Any:
    """Return the logger of the flow run or task run, else the logger of commands."""
    if not in_prefect_run():
        return logging.getLogger(LOGGER)
    from prefect.logging import get_run_logger

    return get_run_logger()


class PrefectTask(Generic[Inputs, Result]):
    """Function that is a Prefect task in a flow run, and a plain function elsewhere; `fn` is always the function."""

    def __init__(self, function: Callable[Inputs, Result], options: dict[str, Any]) -> None:
        self.fn, self.options = function, options
        update_wrapper(self, function)

    def __call__(self, *args: Inputs.args, **kwargs: Inputs.kwargs) -> Result:
        return self.task(*args, **kwargs) if in_prefect_run() else self.fn(*args, **kwargs)

    @cached_property
    def task(self) -> "Task[Inputs, Result]":
        """Task of Prefect."""
        import prefect
        from prefect.cache_policies import NO_CACHE

        return prefect.task(cache_policy=NO_CACHE, **self.options)(self.fn)


def task(retried: bool = False) -> Callable[[Callable[Inputs, Result]], PrefectTask[Inputs, Result]]:
    """Make a function a task, which Prefect tries again after failures if `retried` is true."""
    return lambda function: PrefectTask(function, RETRIED if retried else {})
