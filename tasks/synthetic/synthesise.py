"""Write synthetic motion, the default source, as an AMASS pickle to the store."""

from pathlib import Path

from data_contracts.parameters import SyntheticParameters
from data_contracts.report import StageResult
from data_contracts.store import stage_keys
from data_contracts.store.folders import open_stage
from tasks.stage_runs.prefect_runs import task
from tasks.synthetic.motion import write_pickle


@task()
def synthesise_motion(store: Path, parameters: SyntheticParameters) -> StageResult:
    """Write a pickle of procedural motion and its clip list; file name and manifest mark the motion as synthetic."""
    with open_stage(store, stage_keys.synthesise(parameters)) as stage:
        if not stage.cached:
            write_pickle(stage.folder, parameters.seed, parameters.people, parameters.seconds)
            stage.statistics |= {"synthetic": True}
    return StageResult.of(stage)
