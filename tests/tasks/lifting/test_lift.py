"""Run the example of live lifting in the docs, and load checkpoints for lifting."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from data_contracts.errors import InputError
from data_contracts.parameters import NetworkConfig
from model.lifting.lifter import load_lifter
from model.network.network import PoseNetwork
from model.training.checkpoints import save_network

PAGE = Path(__file__).parents[3] / "docs" / "keypoints.md"


def save(path, about, **config):
    torch.manual_seed(0)
    network = PoseNetwork(NetworkConfig(embed_dim=8, heads=2, fusion_depth=1, max_frames=9, **config)).eval()
    save_network(path, network, about)
    return path


def test_live_example_of_the_docs_returns_a_pose(tmp_path):
    (text,) = re.findall(r"```python\n(from pathlib.*?)```", PAGE.read_text("utf-8"), flags=re.S)
    checkpoint = save(tmp_path / "model.safetensors", {"window": 9, "fps": 60.0})
    frame = np.random.default_rng(0).uniform(100, 500, (17, 3)).astype(np.float32)
    frame[:, 2] = 0.9
    given = {"frame": frame}
    exec(text.replace("store/runs/DIGEST/model.safetensors", str(checkpoint)), given)  # the page's own words
    assert given["pose"].shape == (17, 3)
    assert np.isfinite(given["pose"]).all()


def test_checkpoint_contains_window_and_rate(tmp_path):
    told = load_lifter(save(tmp_path / "a.safetensors", {"window": 5, "fps": 50.0}))
    assert (told.window, told.fps, told.flip) == (5, 50.0, True)
    untold = load_lifter(save(tmp_path / "b.safetensors", {}), flip=False)
    assert (untold.window, untold.fps, untold.flip) == (9, None, False)


def test_2d_checkpoint_is_refused(tmp_path):
    with pytest.raises(InputError, match="returns 2D poses"):
        load_lifter(save(tmp_path / "a.safetensors", {}, dim_out=2))
