"""Decorator of every flow: the run is named after its data, and its form in the Prefect UI has descriptions."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from prefect import Flow, flow
from prefect.runtime import flow_run

from data_contracts.errors import InputError
from data_contracts.parameters import SYNTHETIC_SOURCE
from data_contracts.parameters.presets import load_preset
from data_contracts.sources import data_name
from data_contracts.store.digests import PIPELINE
from data_contracts.store.folders import default_store
from data_contracts.store.run_names import input_data_name, preset_name, run_name
from flows.prefect_ui.forms import described
from flows.stages import find_files

Inputs = ParamSpec("Inputs")
Result = TypeVar("Result")


def uplift_flow(function: Callable[Inputs, Result]) -> Flow[Inputs, Result]:
    """Return a function as a Prefect flow that has the name of the function."""
    return flow(name=function.__name__, flow_run_name=_name_flow_run)(described(function))


def _name_flow_run() -> str:
    """Return the name of a flow run, without the flow's name, which the UI displays before the run name."""
    stage, arguments, data = str(flow_run.get_flow_name()), flow_run.get_parameters(), ""
    with suppress(InputError):  # the flow itself refuses an invalid parameter
        data = _data(stage, arguments)
    return run_name(data, preset_name(arguments["preset"], arguments["overrides"]) if stage == PIPELINE else "")


def _data(stage: str, arguments: dict[str, Any]) -> str:
    """Return the name of the data that the flow reads."""
    if version := arguments.get("version"):
        return f"version {version}"
    if stage in ("keypoints", "lift"):
        return Path(arguments["source"]).absolute().stem
    if source := arguments.get("source"):
        if source == SYNTHETIC_SOURCE:
            return SYNTHETIC_SOURCE
        options = load_preset(arguments["preset"], arguments["overrides"]).ingest
        return data_name(find_files(options, source, body_model=arguments.get("body_model")))
    inputs = {kind: str(arguments[kind]) for kind in ("windows", "clips") if arguments.get(kind)}
    return input_data_name(default_store(arguments.get("store")), inputs)
