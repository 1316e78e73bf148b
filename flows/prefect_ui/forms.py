"""Descriptions of a flow's parameters in the Prefect UI, from docstrings in the numpy layout."""

import inspect
import re
from collections.abc import Callable
from typing import TypeVar

Function = TypeVar("Function", bound=Callable[..., object])
SHARED = {  # descriptions of parameters that several flows and commands share; a docstring may replace them
    "preset": "Preset with the parameters of all stages: a name from presets/, or the path of a YAML file.",
    "overrides": "Parameters that differ from the preset, as path.to.parameter=value, e.g. pretrain.max_epochs=1.",
    "store": "Root of the store, as the worker sees it. Default: UPLIFT_STORE, or ./store.",
    "parent_run": "MLflow run of the pipeline that this stage belongs to. A pipeline run sets it; leave it empty.",
    "clip_list": "CSV with clip metadata (subject, action, fps), one per motion file in the same order. Default:"
    " FILE.csv or clip_list.csv next to the motion file.",
    "keep_last": "Number of newest pipeline runs, versions and lifted folders to keep, of each.",
    "reason": "Reason of the rollback; both versions keep the reason in a tag.",
    "windows": "Folder or digest of a convert stage.",
    "model": "Run folder or digest, checkpoint file (.safetensors, or MotionBERT's .bin), MLflow model URI, e.g."
    " models:/pose-uplift@champion, or shipped (the lifter of this package).",
    "digest": "Digest that the result must have, else the run fails. A pipeline run sets it; leave it empty.",
}
_SECTION = re.compile(r"^Parameters\n-+\n(.*?)(?=^\w+\n-+\n|\Z)", re.MULTILINE | re.DOTALL)
_ENTRY = re.compile(r"^(\w+)\n((?: +.*\n?|\n)+)", re.MULTILINE)


def described(function: Function) -> Function:
    """Return the function with a docstring in the style that Prefect reads, and with the shared descriptions."""
    texts = parameter_texts(function)
    lines = [f"    {name}: {texts[name]}" for name in inspect.signature(function).parameters if name in texts]
    rest = _SECTION.sub("", inspect.getdoc(function) or "").rstrip()
    function.__doc__ = "\n".join([rest, "", "Args:", *lines, ""])
    return function


def parameter_texts(function: Callable[..., object]) -> dict[str, str]:
    """Return the description of each parameter in the docstring of a function, and the shared descriptions."""
    section = _SECTION.search(inspect.getdoc(function) or "")
    return SHARED | {name: " ".join(text.split()) for name, text in _ENTRY.findall(section[1] if section else "")}
