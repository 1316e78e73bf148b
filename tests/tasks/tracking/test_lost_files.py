"""A version is trusted only if MLflow has the files of its model; lost files are logged again."""

import shutil
from pathlib import Path

import mlflow
import numpy as np
import pytest

from data_contracts.errors import InputError
from data_contracts.parameters import NetworkConfig, SyntheticParameters
from data_contracts.store.digests import StageKey
from model.network.network import PoseNetwork
from model.training.checkpoints import save_network
from tasks.serving.onnx import export_model
from tasks.tracking.logged_models import log_lifter
from tasks.tracking.models import find_lifting_model
from tasks.tracking.names import FLIP_TAG, MODEL_NAME
from tasks.tracking.registry import fetch_checkpoint, logged_model_id, register_challenger
from tasks.tracking.runs import connect, track_pipeline

OF = StageKey("pipelines", "pipeline", SyntheticParameters(), {})
VERSION = f"models:/{MODEL_NAME}/1"


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    file = tmp_path / "model.safetensors"
    save_network(file, PoseNetwork(NetworkConfig(embed_dim=8, heads=2, fusion_depth=0, max_frames=9)), {})
    return file


@pytest.fixture
def register(empty_store, checkpoint):
    def run():
        with track_pipeline(empty_store, OF) as tracked:
            return register_challenger(tracked, checkpoint, "windows", {"test/mpjpe_mm": 1.0}, flip=True)

    return run


@pytest.mark.parametrize("lost", ["", "MLmodel", "artifacts", "artifacts/model.safetensors", "code"])
def test_lost_files_of_a_version_are_logged_again_before_it_is_the_challenger(lost, register, empty_store, checkpoint):
    version = register()
    place = empty_store / "mlartifacts" / "models" / logged_model_id(version) / "artifacts"
    shutil.rmtree(place / lost) if (place / lost).is_dir() else (place / lost).unlink()
    if "artifacts" in lost or not lost:
        with pytest.raises(InputError, match=r"no safetensors checkpoint.*or its files were lost"):
            fetch_checkpoint(empty_store, VERSION)
    assert register().version == version.version
    assert fetch_checkpoint(empty_store, VERSION).read_bytes() == checkpoint.read_bytes()
    lifted = mlflow.pyfunc.load_model(VERSION).predict(np.zeros((1, 9, 17, 3), np.float32))
    assert lifted.shape == (1, 9, 17, 3)


def test_lost_files_of_an_unregistered_model_are_logged_again(register, empty_store, checkpoint):
    with track_pipeline(empty_store, OF) as tracked:
        model_id = log_lifter(tracked, checkpoint, 0, {}).rpartition("/")[2]
    shutil.rmtree(empty_store / "mlartifacts" / "models" / model_id)
    assert logged_model_id(register()) == model_id
    assert fetch_checkpoint(empty_store, VERSION).read_bytes() == checkpoint.read_bytes()


def test_a_version_without_a_flip_tag_is_lifted_and_exported_with_flip_averaging(register, empty_store, tmp_path):
    register()
    assert FLIP_TAG not in connect(empty_store).get_model_version(MODEL_NAME, "1").tags
    assert find_lifting_model(empty_store, VERSION).flip
    assert export_model(empty_store, VERSION, tmp_path / "model.onnx")["flip"]
