"""What ONNX answers is what is served; its length is free where the network's is, and the file says which."""

import numpy as np
import pytest
import torch

import tasks.serving.onnx
from data_contracts.parameters import HeadKind, NetworkConfig
from model.lifting.lifter import Lifter
from model.network.network import PoseNetwork
from tasks.serving.onnx import INPUT, export_model, export_onnx

SMALL = {"embed_dim": 8, "heads": 2, "fusion_depth": 1, "max_frames": 12}


def make(head=HeadKind.JOINTS, flip=True, **shape):
    torch.manual_seed(0)
    network = PoseNetwork(NetworkConfig(**SMALL | shape), head).eval()
    for weights in network.head.parameters():  # some begin at zero
        torch.nn.init.normal_(weights, std=0.05)
    return Lifter(network, SMALL["max_frames"], flip=flip)


def run(file, windows, frames):
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(file)
    pose_2d = torch.randn(windows, frames, 17, 3, generator=torch.Generator().manual_seed(1))
    return session, pose_2d, session.run(None, {INPUT: pose_2d.numpy()})[0]


def test_batch_and_length_are_free_where_the_network_takes_any(tmp_path):
    pytest.importorskip("onnxruntime")
    lifter = make(geometry="foreshortening")
    assert export_onnx(lifter, tmp_path / "x.onnx", {"model": "a test"}) < 1e-5
    for windows, frames in ((1, 1), (4, 7)):
        session, pose_2d, answer = run(tmp_path / "x.onnx", windows, frames)
        with torch.inference_mode():
            np.testing.assert_allclose(answer, lifter(pose_2d), atol=1e-5)
    said = session.get_modelmeta().custom_metadata_map
    assert said["frames"] == "1 to 12"
    assert said["model"] == "a test"


def test_a_network_that_takes_windows_whole_says_so(tmp_path):
    pytest.importorskip("onnxruntime")
    lifter = make(HeadKind.POSE, flip=False, stem="window", stem_width=16, patch=3, cosines=4)
    export_onnx(lifter, tmp_path / "x.onnx", {})
    session, pose_2d, answer = run(tmp_path / "x.onnx", 2, 12)
    with torch.inference_mode():
        np.testing.assert_allclose(answer, lifter(pose_2d), atol=1e-5)
    assert session.get_modelmeta().custom_metadata_map["frames"].startswith("exactly 12")
    assert session.get_inputs()[0].shape == ["batch", 12, 17, 3]


def test_a_file_that_answers_otherwise_is_not_left(tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(tasks.serving.onnx, "_difference", lambda *_: float("nan"))
    with pytest.raises(RuntimeError, match="onnxruntime and PyTorch differ by nan"):
        export_onnx(make(HeadKind.POSE, False, stem="window", stem_width=16, fusion_depth=0), tmp_path / "x.onnx", {})
    assert not list(tmp_path.iterdir())


def test_the_lifter_of_the_package_is_exported_without_a_registry(tmp_path):
    pytest.importorskip("onnxruntime")
    exported = export_model(tmp_path / "store", "shipped", tmp_path / "x.onnx")
    assert exported["frames"].startswith("exactly 27")
    assert "artifact" not in exported
    assert not (tmp_path / "store").exists()
