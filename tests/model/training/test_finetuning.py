"""Fine-tuning: frozen backbone, kept features, heads."""

import copy

import pytest
import torch

from data_contracts.parameters import FinetuneParameters, HeadKind, Runtime
from model.network.network import PoseNetwork
from model.training.loop import build_network
from tasks.train.training import with_head
from tests.model.training.small_runs import CONFIG, EVERYTHING, LEARNER, PARAMETERS, assert_same_weights, learner, train


def test_features_of_augmented_windows_are_not_cached(placed_windows, tmp_path, caplog):
    caplog.set_level("INFO")
    network = build_network(lambda: PoseNetwork(CONFIG), 0)
    network.backbone.requires_grad_(False)
    parameters = FinetuneParameters(batch_size=16, max_epochs=3, augmentation=EVERYTHING)
    train(placed_windows, tmp_path / "run", parameters, network)
    assert "backbone features" not in caplog.text


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("kept", [True, False])
def test_kept_features_change_no_loss(windows, tmp_path, flip, kept, caplog):
    caplog.set_level("INFO")
    network = build_network(lambda: PoseNetwork(CONFIG), 0)
    network.backbone.requires_grad_(False)
    parameters = FinetuneParameters(batch_size=16, max_epochs=3, learning_rate=1e-2, flip=flip)
    runtime = Runtime(accelerator="cpu", memory_gb=None if kept else 1e-6)
    _, history = train(windows, tmp_path / "kept", parameters, copy.deepcopy(network), runtime=runtime)
    assert ("in memory of cpu" if kept else "do not fit into memory") in caplog.text
    off = Runtime(accelerator="cpu", features="off")
    _, every_step = train(windows, tmp_path / "every-step", parameters, network, runtime=off)
    for record, other in zip(history, every_step, strict=True):
        assert record["loss"] == pytest.approx(other["loss"], abs=1e-5)
        assert record["train_mpjpe_mm"] == pytest.approx(other["train_mpjpe_mm"], rel=1e-5)
        assert record["val_mpjpe_mm"] == pytest.approx(other["val_mpjpe_mm"], rel=1e-5)


def test_of_patches_the_features_are_kept_and_beside_a_stem_that_the_head_reads_they_are_not(windows, tmp_path, caplog):
    caplog.set_level("INFO")
    parameters = FinetuneParameters(batch_size=16, max_epochs=3, learning_rate=1e-2, flip=True)
    for head, kept in ((HeadKind.JOINTS, True), (HeadKind.POSE, False)):
        network = build_network(lambda head=head: PoseNetwork(LEARNER, head), 0)
        network.backbone.requires_grad_(False)
        caplog.clear()
        _, history = train(windows, tmp_path / head, parameters, copy.deepcopy(network))
        assert ("backbone features of" in caplog.text) is kept
        off = Runtime(accelerator="cpu", features="off")
        _, every_step = train(windows, tmp_path / f"{head}-every-step", parameters, network, runtime=off)
        for record, other in zip(history, every_step, strict=True):
            assert record["loss"] == pytest.approx(other["loss"], abs=1e-5)
            assert record["train_mpjpe_mm"] == pytest.approx(other["train_mpjpe_mm"], rel=1e-5)


def test_a_pose_head_is_kept_by_fine_tuning_and_exchanged_for_another():
    pretrained = learner()
    with torch.no_grad():
        for weight in pretrained.head.parameters():
            weight += 1.0
        same = with_head(pretrained, FinetuneParameters(head=HeadKind.POSE, freeze_backbone=False))
        assert_same_weights(same, pretrained)
        joints = with_head(pretrained, FinetuneParameters(head=HeadKind.JOINTS))
    assert_same_weights(joints.backbone, pretrained.backbone)
    assert not joints.backbone.geometry.lengths.requires_grad


@pytest.mark.parametrize("head", list(HeadKind))
def test_the_frozen_backbone_is_identical_before_and_after_fine_tuning(windows, tmp_path, head):
    pretrained, _ = train(windows, tmp_path / "pre", PARAMETERS.model_copy(update={"max_epochs": 1}))
    parameters = FinetuneParameters(head=head, batch_size=16, max_epochs=2, learning_rate=1e-2)
    network = with_head(pretrained, parameters)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    tuned, _ = train(windows, tmp_path / "tuned", parameters, network)
    for name, value in tuned.state_dict().items():
        assert torch.equal(value, before[name]) is name.startswith("backbone."), name
