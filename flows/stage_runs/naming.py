"""How flow runs are called in the Prefect UI, which puts the flow's name before: as their runs in MLflow else."""

from contextlib import suppress
from pathlib import Path

from prefect.runtime import flow_run

from data_contracts.errors import InputError
from data_contracts.parameters import SYNTHETIC_SOURCE, Parameters
from data_contracts.run_names import data_behind, run_name
from data_contracts.sources import data_name, find_motion_files
from data_contracts.store.folders import default_store


def name_flow_run() -> str:
    """`flow_run_name` of every flow. It refuses nothing: what is wrong with a parameter the flow says itself."""
    given = flow_run.get_parameters()
    parameters, data = given.get("parameters"), ""
    settings = parameters.identity() if isinstance(parameters, Parameters) else {}
    with suppress(InputError):
        if version := given.get("version"):  # of the challenger, in a promotion
            data = f"version {version}"
        elif flow_run.get_flow_name() in ("keypoints", "lift"):
            data = Path(given["source"]).absolute().stem
        elif source := given.get("source"):
            data = SYNTHETIC_SOURCE if source == SYNTHETIC_SOURCE else data_name(find_motion_files(source))
        else:
            inputs = {kind: str(given[kind]) for kind in ("windows", "clips") if given.get(kind)}
            data = data_behind(default_store(given.get("store")), inputs)
    stage = str(flow_run.get_flow_name())
    return run_name(stage, settings, data).removeprefix(f"{stage} ")
