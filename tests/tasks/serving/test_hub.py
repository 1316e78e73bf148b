"""An exported folder has weights, configuration and a card, and loads as the model that was exported."""

import json

import numpy as np
import pytest
import torch
import yaml

import pose_uplift
from data_contracts.errors import InputError
from data_contracts.parameters import NetworkConfig, SyntheticParameters
from data_contracts.store.digests import StageKey
from model.network.network import PoseNetwork
from model.training.checkpoints import save_network
from tasks.serving.hub import export_folder
from tasks.tracking.registry import register_challenger
from tasks.tracking.runs import connect, track_pipeline


def lifted(lifter):
    windows = torch.rand(2, lifter.window, 17, 3, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        return lifter(windows).numpy()


def test_the_lifter_of_the_package_is_exported_without_a_registry(tmp_path):
    written = export_folder(tmp_path / "store", "shipped", tmp_path / "hub")
    assert written["files"] == ["README.md", "config.json", "model.safetensors"]
    exported = pose_uplift.load_lifter(tmp_path / "hub")
    np.testing.assert_array_equal(lifted(exported), lifted(pose_uplift.load_lifter()))
    front, _, card = (tmp_path / "hub/README.md").read_text().removeprefix("---\n").partition("---\n")
    assert yaml.safe_load(front)["license"] == "apache-2.0"
    assert "## Scores" in card
    assert 'load_lifter("FOLDER", flip=True)' in card
    assert "`pip install .` in a clone" in card
    config = json.loads((tmp_path / "hub/config.json").read_text())
    assert (config["window"], config["fps"], config["network"]["kind"]) == (27, 60.0, "mlp")
    assert not (tmp_path / "store/mlflow.db").exists()


def test_a_version_has_its_description_as_card(empty_store, tmp_path):
    network = PoseNetwork(NetworkConfig(embed_dim=8, heads=2, fusion_depth=1, max_frames=9))
    save_network(tmp_path / "model.safetensors", network, {})
    with track_pipeline(empty_store, StageKey("pipelines", "pipeline", SyntheticParameters(), {})) as tracked:
        version = register_challenger(tracked, tmp_path / "model.safetensors", "a digest", {}, flip=True)
    connect(empty_store).update_model_version(version.name, version.version, "# The card\n")
    export_folder(empty_store, "models:/pose-uplift@challenger", tmp_path / "hub")
    assert "# The card" in (tmp_path / "hub/README.md").read_text()
    assert json.loads((tmp_path / "hub/config.json").read_text())["model"] == "models:/pose-uplift/1"
    assert pose_uplift.load_lifter(tmp_path / "hub").window == 9


def test_an_existing_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="--out"):
        export_folder(tmp_path / "store", "shipped", tmp_path)
