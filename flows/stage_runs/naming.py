"""Names of flow runs in the Prefect UI; the UI puts the name of the flow in front. MLflow runs have the same names."""

from contextlib import suppress
from pathlib import Path
from typing import Any

from prefect.runtime import flow_run

from data_contracts.errors import InputError
from data_contracts.parameters import SYNTHETIC_SOURCE, PipelineParameters
from data_contracts.presets import DEFAULT, load_preset
from data_contracts.run_names import input_data_name, run_name
from data_contracts.sources import data_name, find_motion_files
from data_contracts.store.digests import PIPELINE
from data_contracts.store.folders import default_store


def name_flow_run() -> str:
    """Return the name of a flow run, for `flow_run_name` of every flow; a bad parameter is left to the flow."""
    arguments, stage = flow_run.get_parameters(), str(flow_run.get_flow_name())
    settings: dict[str, Any] = {}
    data = ""
    with suppress(InputError):
        settings = _settings(stage, arguments)
        data = _data(stage, arguments)
    return run_name(stage, settings, data).removeprefix(f"{stage} ")


def _settings(stage: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters of the flow that change its result."""
    if stage != PIPELINE and stage not in PipelineParameters.model_fields:
        return {}
    parameters = load_preset(arguments.get("preset", DEFAULT), arguments.get("overrides"))
    return (parameters if stage == PIPELINE else getattr(parameters, stage)).identity()


def _data(stage: str, arguments: dict[str, Any]) -> str:
    """Return the name of the data that the flow reads."""
    if version := arguments.get("version"):
        return f"version {version}"
    if stage in ("keypoints", "lift"):
        return Path(arguments["source"]).absolute().stem
    if source := arguments.get("source"):
        return SYNTHETIC_SOURCE if source == SYNTHETIC_SOURCE else data_name(find_motion_files(source))
    inputs = {kind: str(arguments[kind]) for kind in ("windows", "clips") if arguments.get(kind)}
    return input_data_name(default_store(arguments.get("store")), inputs)
