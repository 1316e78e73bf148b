"""Names of flow runs in the Prefect UI; the UI puts the name of the flow in front. MLflow runs have the same names."""

from contextlib import suppress
from pathlib import Path
from typing import Any

from prefect.runtime import flow_run

from data_contracts.errors import InputError
from data_contracts.parameters import SYNTHETIC_SOURCE
from data_contracts.sources import data_name, find_motion_files
from data_contracts.store.folders import default_store
from data_contracts.store.run_names import input_data_name, run_name


def name_flow_run() -> str:
    """Return the name of a flow run, for `flow_run_name` of every flow; a bad source is left to the flow."""
    data = ""
    with suppress(InputError):
        data = _data(str(flow_run.get_flow_name()), flow_run.get_parameters())
    return run_name("", data)


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
