import pytest
import torch

import model.dstformer as dstformer
from data_contracts.parameters import HeadKind
from data_contracts.presets import load_preset
from model.dstformer import DSTformer, DSTformerConfig
from model.training import build_network

SMALL = DSTformerConfig(embed_dim=16, heads=4, fusion_depth=2, attn_depth=2, max_frames=12)


def make(config=SMALL, head=HeadKind.JOINTS):
    return build_network(lambda: DSTformer(config, head), seed=0)


def windows(frames=9, batch=3):
    return torch.randn(batch, frames, 17, 3, generator=torch.Generator().manual_seed(1))


def test_the_seed_presets_head_has_8449_parameters():
    network = DSTformer(load_preset("seed").pretrain.network, load_preset("seed").finetune.head)
    assert sum(p.numel() for p in network.head.parameters()) == 8449


def test_shapes_of_both_heads_and_shorter_windows():
    assert make()(windows(9)).shape == (3, 9, 17, 3)
    assert make(SMALL.model_copy(update={"dim_out": 2}))(windows(1)).shape == (3, 1, 17, 2)
    pose_2d = windows(12)
    lifted = make(head=HeadKind.DEPTH)(pose_2d)
    torch.testing.assert_close(lifted[..., :2], pose_2d[..., :2])
    assert lifted.shape == (3, 12, 17, 3)


def test_longer_windows_and_other_shapes_are_refused():
    with pytest.raises(ValueError, match="at most 12"):
        make()(windows(13))
    with pytest.raises(ValueError, match="expected"):
        make()(windows()[:, :, :16])


def test_both_ways_to_attend_agree(monkeypatch):
    network, pose_2d = make().eval(), windows()
    plain = network(pose_2d)
    monkeypatch.setattr(dstformer, "PLAIN_ATTENTION_MAX", 0)
    torch.testing.assert_close(network(pose_2d), plain, rtol=1e-5, atol=1e-6)


def test_a_frame_is_told_apart_by_when_it_is():
    """Without frame positions, exchanging two frames of the input would only exchange the output."""
    network, pose_2d = make().eval(), windows()
    order = torch.tensor([1, 0, *range(2, 9)])
    assert not torch.allclose(network(pose_2d[:, order]), network(pose_2d)[:, order], atol=1e-6)


def test_windows_of_a_batch_do_not_see_each_other():
    network, pose_2d = make().eval(), windows()
    torch.testing.assert_close(network(pose_2d)[1:2], network(pose_2d[1:2]), rtol=1e-5, atol=1e-6)


def test_gradient_checkpointing_changes_memory_and_not_results():
    gradients = []
    for checkpointing in (False, True):
        network = make()
        network.backbone.gradient_checkpointing = checkpointing
        network(windows()).square().sum().backward()
        gradients.append([p.grad for p in network.parameters()])
    for plain, checkpointed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, checkpointed)
