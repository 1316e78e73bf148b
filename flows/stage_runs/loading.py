"""Stage flows by name, imported when one is to run."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prefect import Flow


def load_flow(name: str) -> "Flow[..., Any]":
    """The flow of a stage; Prefect, MLflow and PyTorch take seconds to import, and a cached answer needs none."""
    return getattr(import_module(f"flows.{name}"), name)
