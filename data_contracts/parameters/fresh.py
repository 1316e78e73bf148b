"""Parameters of a night that is to train anew though nothing changed: seeds that are the date.

A stage is a function of its digests, so unchanged data and parameters are answered from the store. Another seed is
another stage; one that the date tells makes each night's its own, and the same night's, begun again, the same.
"""

from datetime import date

from data_contracts.parameters import PipelineParameters


def of_day(parameters: PipelineParameters, day: date) -> PipelineParameters:
    """The same with the seeds of pretraining, fine-tuning and the MLP beside them set to the day: 20261127."""
    seed = {"seed": int(f"{day:%Y%m%d}")}
    mlp = parameters.baselines.mlp.model_copy(update=seed)
    return parameters.model_copy(
        update={
            "pretrain": parameters.pretrain.model_copy(update=seed),
            "finetune": parameters.finetune.model_copy(update=seed),
            "baselines": parameters.baselines.model_copy(update={"mlp": mlp}),
        }
    )
