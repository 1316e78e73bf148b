"""Checkpoints that are no longer among the best are deleted from MLflow with their files; registered ones stay."""

from pathlib import Path

import pytest

from data_contracts.parameters import NetworkConfig, SyntheticParameters
from data_contracts.store.digests import StageKey
from model.network.network import PoseNetwork
from model.training.checkpoints import save_network
from tasks.tracking.logged_models import log_lifter
from tasks.tracking.registry import CHECKPOINTS, drop_other_checkpoints, register_challenger
from tasks.tracking.runs import track_pipeline
from tasks.tracking.store_artifacts import local_folder

OF = StageKey("pipelines", "pipeline", SyntheticParameters(), {})


@pytest.fixture
def checkpoints(tmp_path) -> list[Path]:
    files = [tmp_path / f"top-epoch-{epoch:04d}.safetensors" for epoch in range(3)]
    for file in files:
        save_network(file, PoseNetwork(NetworkConfig(embed_dim=8, heads=2, fusion_depth=0, max_frames=9)), {})
    return files


def models(tracked):
    experiment = tracked.client.get_run(tracked.run_id).info.experiment_id
    return {model.name: model for model in tracked.client.search_logged_models([experiment])}


def test_a_dropped_checkpoint_leaves_neither_a_model_nor_files(empty_store, checkpoints):
    with track_pipeline(empty_store, OF) as tracked:
        for checkpoint in checkpoints:
            log_lifter(tracked, checkpoint, 0, {})
            tracked.log_artifact(checkpoint, CHECKPOINTS)
        register_challenger(tracked, checkpoints[0], "a digest", {}, flip=True)
        places = {
            name: local_folder(model.artifact_location, tracked.client.tracking_uri)
            for name, model in models(tracked).items()
        }
        assert all(list(place.rglob("*.safetensors")) for place in places.values())
        drop_other_checkpoints(tracked, [checkpoints[2]])
        assert set(models(tracked)) == {checkpoints[0].stem, checkpoints[2].stem}
        assert [list(place.rglob("*")) != [] for place in places.values()] == [
            name != checkpoints[1].stem for name in places
        ]
        remaining = tracked.client.list_artifacts(tracked.run_id, CHECKPOINTS)
        assert [Path(file.path).name for file in remaining] == [checkpoints[2].name]
        drop_other_checkpoints(tracked, [checkpoints[2]])  # once more changes nothing
        assert set(models(tracked)) == {checkpoints[0].stem, checkpoints[2].stem}


def test_models_of_another_run_are_not_changed(empty_store, checkpoints):
    with track_pipeline(empty_store, OF) as other:
        log_lifter(other, checkpoints[0], 0, {})
    with track_pipeline(empty_store, OF) as tracked:
        drop_other_checkpoints(tracked, [])
        assert set(models(tracked)) == {checkpoints[0].stem}
