"""What a flow's parameters mean, in its form in the Prefect UI: told in the style of docstring that Prefect reads.

@flow(...)
@described
def pretrain(windows: str, store: str | None = None) -> StageResult:
    ...
"""

import inspect
import re
from collections.abc import Callable
from typing import TypeVar

Function = TypeVar("Function", bound=Callable[..., object])
OF_ALL = {  # where a docstring does not say
    "parameters": "What changes the result; each field with its bounds.",
    "runtime": "Where it runs, and how long it waits.",
    "workers": "Processes, or Dask, that convert.",
    "store": "Root of the store; none: UPLIFT_STORE, or ./store.",
    "parent_run": "MLflow run of the pipeline that it belongs to.",
    "evaluation": "How models are scored.",
    "keypoints": "How a detector's file is read.",
}
_SECTION = re.compile(r"^Parameters\n-+\n(.*?)(?=^\w+\n-+\n|\Z)", re.MULTILINE | re.DOTALL)
_ENTRY = re.compile(r"^(\w+(?:, \w+)*)\n((?: +.*\n?|\n)+)", re.MULTILINE)


def described(function: Function) -> Function:
    """The same function, its docstring's parameters in the style that Prefect reads, those of every flow added."""
    text = inspect.getdoc(function) or ""
    found = _SECTION.search(text)
    said = dict(OF_ALL)
    for names, meaning in _ENTRY.findall(found[1] if found else ""):
        said |= dict.fromkeys(names.split(", "), " ".join(meaning.split()))
    lines = [f"    {name}: {said[name]}" for name in inspect.signature(function).parameters if name in said]
    rest = _SECTION.sub("", text).rstrip()
    function.__doc__ = "\n".join([rest, "", "Args:", *lines, ""])
    return function
