import pytest
import torch

from data_contracts.parameters import DSTformerConfig, HeadKind
from model.network.dropout import draw_kept
from model.network.dstformer import DSTformer

SMALL = DSTformerConfig(
    embed_dim=16, heads=2, fusion_depth=2, attn_depth=2, max_frames=9, stem="window", stem_width=24, dropout=0.25
)


@pytest.fixture
def network():
    torch.manual_seed(0)
    made = DSTformer(SMALL, HeadKind.POSE)
    for weight in made.parameters():
        torch.nn.init.normal_(weight, std=0.1)
    return made


def test_the_share_is_dropped_and_the_rest_makes_up_for_it():
    kept = draw_kept(200, 500, 0.25, torch.Generator().manual_seed(0))
    assert kept.unique().tolist() == pytest.approx([0, 1 / 0.75])
    assert kept.mean() == pytest.approx(1, abs=0.01)


def test_every_part_has_features_of_its_own(network):
    parts = 2 * 2 * 2 * 2  # stages, streams, blocks, over space and over time
    assert network.backbone.hidden_features == 24 + parts * 32
    pose_2d = torch.rand(2, 9, 17, 3)
    whole = network(pose_2d)
    for feature in range(0, network.backbone.hidden_features, 8):
        kept = torch.ones(2, network.backbone.hidden_features)
        assert torch.allclose(network(pose_2d, kept=kept), whole, atol=1e-6)
        kept[1, feature : feature + 8] = 0
        dropped = network(pose_2d, kept=kept)
        assert torch.allclose(dropped[0], whole[0], atol=1e-6)  # of the other window nothing is
        assert not torch.allclose(dropped[1], whole[1], atol=1e-6), feature


def test_a_generator_tells_what_is_dropped(network):
    first, again, other = (network.draw_kept(4, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert DSTformer(SMALL.model_copy(update={"dropout": 0.0})).draw_kept(4, torch.Generator()) is None
