"""The embedded default source: synthetic motion as an AMASS pickle in the store."""

from pathlib import Path

from data_contracts.parameters import SyntheticParameters
from data_contracts.report import StageResult
from data_contracts.store import identities
from data_contracts.store.folders import open_stage
from tasks.stage_runs.prefect_runs import task
from tasks.synthetic.motion import CLIP_LIST_FILE, PICKLE_FILE, write_pickle

__all__ = ["CLIP_LIST_FILE", "PICKLE_FILE", "synthesise_motion"]


@task()
def synthesise_motion(store: Path, parameters: SyntheticParameters) -> StageResult:
    """A pickle of procedural motion and its clip list; name and manifest say that nobody moved like this."""
    with open_stage(store, identities.synthesise(parameters)) as stage:
        if not stage.cached:
            write_pickle(stage.folder, parameters.seed, parameters.people, parameters.seconds)
            stage.statistics |= {"synthetic": True}
    return StageResult.of(stage)
