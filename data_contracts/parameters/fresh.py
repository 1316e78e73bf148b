"""Seeds for a pipeline run that trains again although nothing changed.

Unchanged inputs and parameters are found in the store. With the date as seed, the stages of each day are new, and a run
that is repeated on the same day finds its stages again.
"""

from datetime import date

from data_contracts.parameters import PipelineParameters


def of_day(parameters: PipelineParameters, day: date) -> PipelineParameters:
    """Return the parameters with the day (such as 20261127) as seed of pretraining, fine-tuning and the MLP."""
    seed = {"seed": int(f"{day:%Y%m%d}")}
    mlp = parameters.baselines.mlp.model_copy(update=seed)
    return parameters.model_copy(
        update={
            "pretrain": parameters.pretrain.model_copy(update=seed),
            "finetune": parameters.finetune.model_copy(update=seed),
            "baselines": parameters.baselines.model_copy(update={"mlp": mlp}),
        }
    )
