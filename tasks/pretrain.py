"""Masked pretraining of a DSTformer: give back the clean 2D pose (`reconstruct`) or the 3D pose (`lift`)."""

from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from data_contracts import identities
from data_contracts.parameters import HeadKind, PretrainParameters, Runtime
from data_contracts.report import StageResult
from data_contracts.store import read_manifest
from model.dstformer import DSTformer
from model.training import build_network
from tasks.retries import unless_refused
from tasks.training import open_run, train_stage


@task(cache_policy=NO_CACHE, retries=1, retry_condition_fn=unless_refused)
def pretrain_backbone(
    store: Path, windows: Path, parameters: PretrainParameters, runtime: Runtime, parent_run: str | None = None
) -> StageResult:
    """Pretrain on the windows' train split, watch val; leaves `model.safetensors` in the run folder."""
    frames = read_manifest(windows)["parameters"]["window"]
    config = parameters.network.model_copy(update={"max_frames": frames})
    with open_run(store, identities.pretrain(windows, parameters), windows, parent_run) as (stage, tracked):
        if not stage.cached:
            network = build_network(lambda: DSTformer(config, HeadKind.JOINTS), parameters.seed)
            train_stage(stage, tracked, network, windows, parameters, parameters.objective, runtime)
    return StageResult.of(stage)
