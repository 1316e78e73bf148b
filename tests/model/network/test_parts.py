"""Stem, patches and heads."""

import copy

import pytest
import torch
from pydantic import ValidationError

from data_contracts.parameters import HeadKind, NetworkConfig, PipelineParameters, PretrainParameters
from model.network.network import PoseNetwork
from model.network.window_mlp import cosines
from model.training.loop import build_network

PLAIN = NetworkConfig(embed_dim=16, heads=2, fusion_depth=1, max_frames=9)
PATCHES = PLAIN.model_copy(update={"patch": 4})
STEM = PATCHES.model_copy(update={"stem": "window", "stem_width": 32})
COSINES = STEM.model_copy(update={"cosines": 4})
ALL = COSINES.model_copy(update={"geometry": "foreshortening", "mask_token": True})
MLP = NetworkConfig(
    kind="mlp", stem_width=32, stem_blocks=2, cosines=4, geometry="foreshortening", mask_token=True, max_frames=9
)
CONFIGS = {"plain": PLAIN, "patches": PATCHES, "stem": STEM, "cosines": COSINES, "all": ALL, "mlp": MLP}


GEOMETRY_DEPTH = ("foreshortening", HeadKind.DEPTH)  # both take x and y from the input


def learned(config, head):
    network = build_network(lambda: PoseNetwork(config, head), seed=0)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return network


def windows(frames=9, batch=2):
    return torch.randn(batch, frames, 17, 3, generator=torch.Generator().manual_seed(1))


def pairs():
    for name, config in CONFIGS.items():
        for head in HeadKind:
            if head is HeadKind.POSE or (config.kind == "dstformer" and (config.geometry, head) != GEOMETRY_DEPTH):
                yield pytest.param(config, head, id=f"{name}-{head}")


@pytest.mark.parametrize(("config", "head"), pairs())
def test_every_part_goes_with_every_head_and_each_weight_learns(config, head):
    network = learned(config, head)
    for frames in (9, 5, 1):
        assert network(windows(frames)).shape == (2, frames, 17, 3)
    masked = torch.zeros(2, 9, 17, dtype=torch.bool)
    masked[:, 3, 5] = True
    network(windows(), masked).square().sum().backward()
    for name, weight in network.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.any(), name


@pytest.mark.parametrize(("config", "head"), pairs())
def test_a_shorter_window_is_one_that_its_last_frame_fills_up_at_confidence_0(config, head):
    network, pose_2d = learned(config, head).eval(), windows(6)
    pose_2d[..., 2] = 1.0
    last = pose_2d[:, -1:] * torch.tensor([1.0, 1.0, 0.0])
    backbone = network.backbone
    frames = config.padded_frames if backbone.whole_windows else backbone.features_of(6)[0] * config.patch
    filled = torch.cat((pose_2d, last.expand(-1, frames - 6, -1, -1)), dim=1)
    with torch.no_grad():
        torch.testing.assert_close(network(pose_2d), network(filled[:, :9])[:, :6])


@pytest.mark.parametrize("config", [PATCHES, STEM, ALL, MLP], ids=["patches", "stem", "all", "mlp"])
def test_compiled_and_checkpointed_it_gives_the_same(config):
    network, pose_2d = learned(config, HeadKind.POSE), windows()
    expected = network(pose_2d)
    torch.compiler.reset()  # other tests have filled its cache
    compiled = torch.compile(network, backend="aot_eager", fullgraph=True)(pose_2d)
    torch.testing.assert_close(compiled, expected, rtol=0, atol=1e-4)
    again = copy.deepcopy(network)
    again.backbone.gradient_checkpointing = True
    expected.square().sum().backward()
    again(pose_2d).square().sum().backward()
    for weight, other in zip(network.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(weight.grad, other.grad)


def test_features_that_are_known_already_give_the_same_poses():
    for config, head in (
        (PATCHES, HeadKind.POSE),
        (STEM, HeadKind.JOINTS),
        (ALL, HeadKind.JOINTS),
        (MLP, HeadKind.POSE),
    ):
        network, pose_2d = learned(config, head), windows(7)
        assert not network.reads_stem
        features = network.encode(pose_2d)
        assert features.shape == (2, *network.backbone.features_of(7))
        assert torch.equal(network(pose_2d, None, features), network(pose_2d))
    assert learned(STEM, HeadKind.POSE).reads_stem


def test_a_patch_tells_its_frames_apart_and_gives_each_its_pose():
    network, pose_2d = learned(PATCHES, HeadKind.JOINTS), windows(8)
    order = [1, 0, *range(2, 8)]
    assert not torch.allclose(network(pose_2d[:, order]), network(pose_2d)[:, order], atol=1e-4)


def test_cosines_are_orthonormal_and_keep_slow_motion():
    basis = cosines(27, 8)
    torch.testing.assert_close(basis.T @ basis, torch.eye(8), rtol=0, atol=1e-5)
    slow = torch.cos((torch.arange(27) + 0.5) * torch.pi * 2 / 27)
    torch.testing.assert_close(basis @ (basis.T @ slow), slow, rtol=0, atol=1e-5)


def test_an_old_checkpoint_s_configuration_is_that_of_the_plain_network():
    old = {"dim_in": 3, "dim_out": 3, "embed_dim": 16, "heads": 2, "fusion_depth": 1, "attn_depth": 1, "mlp_ratio": 2.0}
    assert NetworkConfig.model_validate({**old, "rep_dim": None, "max_frames": 9, "mask_token": False}) == PLAIN


@pytest.mark.parametrize(
    ("model", "values", "message"),
    [
        (NetworkConfig, {"geometry": "foreshortening", "dim_out": 2}, "needs dim_in 3 .*got 3 and 2"),
        (NetworkConfig, {"geometry": "foreshortening", "dim_in": 2}, "got 2 and 3"),
        (NetworkConfig, {"patch": 0}, "greater than or equal to 1"),
        (PretrainParameters, {"head": "depth"}, "'joints'.*'pose'"),
        (
            PipelineParameters,
            {"pretrain": {"network": {"geometry": "foreshortening"}}, "finetune": {"head": "depth"}},
            "finetune.head depth cannot be combined with",
        ),
    ],
)
def test_parameters_that_cannot_be_combined_are_refused(model, values, message):
    with pytest.raises(ValidationError, match=message):
        model.model_validate(values)
