import copy

import pytest
import torch
from torch.optim import AdamW

from data_contracts.parameters import HeadKind, NetworkConfig, TrainingParameters
from model.network.network import PoseNetwork
from model.training.checkpoints import load_last, save_last
from model.training.loop import build_network
from model.training.optimiser import (
    BLOCK_ROWS,
    BadSteps,
    Muon,
    blocks_of,
    hidden_matrices,
    make_optimiser,
    orthogonal,
    parameter_groups,
)

CONFIG = NetworkConfig(
    embed_dim=16,
    heads=2,
    fusion_depth=1,
    max_frames=9,
    patch=3,
    stem="window",
    stem_width=96,
    geometry="foreshortening",
)
PARAMETERS = TrainingParameters(optimiser="muon", learning_rate=2e-3, norm_learning_rate=1e-3)


def make():
    network = build_network(lambda: PoseNetwork(CONFIG, HeadKind.POSE), seed=0)
    return network, make_optimiser(network, PARAMETERS, scaled=False)


def learn(network, optimiser, seed, spoil=None):
    pose_2d = torch.rand(4, 9, 17, 3, generator=torch.Generator().manual_seed(seed))
    network(pose_2d).sub(pose_2d).square().sum().backward()
    if spoil is not None:
        next(iter(hidden_matrices(network))).grad[0, 0] = spoil
    gradients = torch.stack([weight.grad.norm() for weight in network.parameters()])
    BadSteps(torch.device("cpu"), limit=9).skip_unless(torch.isfinite(gradients).all(), optimiser, scaled=False)
    optimiser.step()
    optimiser.zero_grad()


def state(network, optimiser):
    entries = optimiser.state_dict()["state"]
    of_weights = [entries[index][name] for index in sorted(entries) for name in sorted(entries[index])]
    return [*network.state_dict().values(), *of_weights]


@pytest.mark.parametrize("shape", [(3, 48, 96), (2, 64, 32), (1, 20, 20)])
def test_a_step_is_the_direction_with_its_singular_values_near_one(shape):
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    u, values, vh = torch.linalg.svd(matrices, full_matrices=False)
    made = u.transpose(1, 2) @ orthogonal(matrices) @ vh.transpose(1, 2)
    along = made.diagonal(dim1=1, dim2=2)
    assert ((along > 0.6) & (along < 1.3))[values > 0.05 * values.amax()].all()
    torch.testing.assert_close(made, torch.diag_embed(along), rtol=0, atol=1e-3)


def test_on_the_gram_matrix_it_is_the_newton_schulz_of_the_paper():
    x = torch.randn(2, 32, 80, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = x / x.norm(dim=(1, 2), keepdim=True)
    for _ in range(5):
        gram = expected @ expected.transpose(1, 2)
        expected = 3.4445 * expected + (-4.7750 * gram + 2.0315 * gram @ gram) @ expected
    torch.testing.assert_close(orthogonal(x.float()).double(), expected, rtol=0, atol=1e-5)


def test_a_matrix_of_one_block_steps_as_with_the_library_s_muon():
    start = torch.randn(24, 40, generator=torch.Generator().manual_seed(0))
    ours, theirs = (torch.nn.Parameter(start.clone()) for _ in range(2))
    one = Muon([{"params": [ours], "lr": 0.01, "blocks": 1}], (0.9, 0.999), 1e-8, 0.1)
    other = torch.optim.Muon([theirs], lr=0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    for seed in range(3):
        ours.grad = torch.randn(24, 40, generator=torch.Generator().manual_seed(10 + seed))
        theirs.grad = ours.grad.clone()
        one.step()
        other.step()
    moved = (theirs - start).norm()
    assert (ours - theirs).norm() < 0.04 * moved  # theirs is computed in bfloat16


def test_blocks_are_made_orthogonal_each_by_itself():
    gradient = torch.randn(6, 8, generator=torch.Generator().manual_seed(0))
    whole = torch.nn.Parameter(torch.zeros(6, 8))
    parts = [torch.nn.Parameter(torch.zeros(2, 8)) for _ in range(3)]
    whole.grad = gradient
    for part, rows in zip(parts, gradient.split(2), strict=True):
        part.grad = rows.clone()
    for params, blocks in (([whole], 3), (parts, 1)):
        Muon([{"params": params, "lr": 0.1, "blocks": blocks}], (0.9, 0.999), 1e-8, 0.0).step()
    torch.testing.assert_close(whole, torch.cat(parts))


def test_the_rest_steps_as_with_adamw():
    start = torch.randn(5, generator=torch.Generator().manual_seed(0))
    ours, theirs = (torch.nn.Parameter(start.clone()) for _ in range(2))
    pair = (Muon([{"params": [ours], "lr": 0.01}], (0.9, 0.99), 1e-8, 0.1),
            AdamW([theirs], lr=0.01, betas=(0.9, 0.99), weight_decay=0.1, fused=True))  # fmt: skip
    for seed in range(3):
        ours.grad = torch.randn(5, generator=torch.Generator().manual_seed(seed))
        theirs.grad = ours.grad.clone()
        for optimiser in pair:
            optimiser.step()
    assert torch.equal(ours, theirs)


def test_every_weight_has_one_group_and_muon_the_hidden_matrices():
    network, _ = make()
    groups = parameter_groups(network, PARAMETERS)
    learned = [weight for group in groups for weight in group["params"]]
    assert len({id(weight) for weight in learned}) == len(learned) == len(list(network.parameters()))
    names = {id(weight): name for name, weight in network.named_parameters()}
    taken = {names[id(weight)]: group["blocks"] for group in groups if "blocks" in group for weight in group["params"]}
    assert taken["backbone.stem.tokens.weight"] == 3 * 17
    assert taken["backbone.stem.blocks.0.body.1.weight"] == 2
    assert taken["backbone.streams_st.0.0.spatial.qkv.weight"] == 3
    assert not any(part in name for name in taken for part in ("embed", "enter", "head", "fusions", "bias", "norm"))
    assert all("blocks" not in group for group in parameter_groups(network, TrainingParameters()))
    assert groups[1]["lr"] == 1e-3


@pytest.mark.parametrize(("rows", "columns", "blocks"), [(384, 384, 8), (32, 384, 1), (64, 32, 1), (53, 100, 53)])
def test_blocks_have_few_rows(rows, columns, blocks):
    assert blocks_of(rows, columns) == blocks
    assert min(rows // blocks, columns) <= BLOCK_ROWS


@pytest.mark.parametrize("spoil", [torch.nan, torch.inf])
def test_a_bad_step_changes_nothing(spoil):
    network, optimiser = make()
    learn(network, optimiser, 1)
    before = [value.clone() for value in state(network, optimiser)]
    learn(network, optimiser, 2, spoil)
    assert all(torch.equal(value, other) for value, other in zip(state(network, optimiser), before, strict=True))
    learn(network, optimiser, 3)
    assert all(torch.isfinite(value).all() for value in state(network, optimiser))


def test_a_good_step_is_the_same_whether_or_not_it_was_looked_at():
    (network, optimiser), (other, plain) = make(), make()
    for seed in range(3):
        learn(network, optimiser, seed)
        pose_2d = torch.rand(4, 9, 17, 3, generator=torch.Generator().manual_seed(seed))
        other(pose_2d).sub(pose_2d).square().sum().backward()
        plain.step()
        plain.zero_grad()
    for value, expected in zip(network.state_dict().values(), other.state_dict().values(), strict=True):
        torch.testing.assert_close(value, expected, rtol=0, atol=1e-6)


def test_last_brings_it_back_to_the_bit(tmp_path):
    network, optimiser = make()
    learn(network, optimiser, 1)
    save_last(tmp_path, network, optimiser, {})
    again = copy.deepcopy(network)
    with torch.no_grad():
        for weight in again.parameters():
            weight.zero_()
    restored = make_optimiser(again, PARAMETERS, scaled=False)
    load_last(tmp_path, again, restored)
    for pair in ((network, optimiser), (again, restored)):
        learn(*pair, seed=2)
    assert all(torch.equal(a, b) for a, b in zip(state(network, optimiser), state(again, restored), strict=True))
