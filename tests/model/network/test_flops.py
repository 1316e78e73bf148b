import pytest

from data_contracts.parameters import NetworkConfig
from model.network.flops import forward_mflop
from model.network.network import PoseNetwork

SMALL = {"embed_dim": 16, "heads": 2, "fusion_depth": 1, "mlp_ratio": 2}


@pytest.mark.parametrize("frames", [9, 60])
def test_a_forward_pass_costs_its_matrix_products(frames):
    """60 frames: longer than what attention on the CPU takes by products of its own."""
    tokens, width = 17 * frames, 16
    linear = 2 * width * width * (3 + 1 + 2 + 2)  # qkv, proj, two of the MLP
    space, time = (4 * width * length for length in (17, frames))  # logits and sums, of a token
    block = tokens * (2 * linear + space + time)
    fusion = 2 * (2 * width)
    ends = 2 * width * (3 + 3)
    wanted = (2 * block + tokens * (fusion + ends)) / 1e6
    assert forward_mflop(PoseNetwork(NetworkConfig(**SMALL, max_frames=frames)), frames) == pytest.approx(wanted)


def test_patches_cost_less_and_a_stem_more_and_the_network_is_left_as_it_is():
    geometry = {"geometry": "foreshortening", "max_frames": 9}
    network = PoseNetwork(NetworkConfig(**SMALL, **geometry))
    whole = forward_mflop(network, 9)
    assert forward_mflop(PoseNetwork(NetworkConfig(**SMALL, **geometry, patch=3)), 9) < 0.5 * whole
    assert forward_mflop(PoseNetwork(NetworkConfig(**SMALL, **geometry, stem="window")), 9) > whole
    assert network.backbone.geometry is not None
    assert {weight.device.type for weight in network.parameters()} == {"cpu"}
