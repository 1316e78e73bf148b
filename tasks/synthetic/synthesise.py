"""Write synthetic motion, the default source, as an AMASS pickle to the store."""

from data_contracts.parameters import PipelineParameters
from data_contracts.store.folders import Stage
from tasks.stage import StageTask
from tasks.synthetic.motion import write_pickle


def _write(stage: Stage, _: None, parameters: PipelineParameters) -> None:
    """Write a pickle of procedural motion and its clip list; file name and manifest mark the motion as synthetic."""
    options = parameters.synthetic
    write_pickle(stage.folder, options.seed, options.people, options.seconds)
    stage.statistics |= {"synthetic": True}


SYNTHESISE = StageTask("synthesise", _write, parameters="synthetic")
