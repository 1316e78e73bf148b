import pytest
import torch
from safetensors.torch import save_file
from torch.optim import AdamW

from data_contracts.errors import InputError
from data_contracts.parameters import HeadKind, NetworkConfig
from model.network.network import PoseNetwork
from model.training.checkpoints import BEFORE_LAST_FILE, LAST_FILE, load_last, load_network, save_last, save_network

CONFIG = NetworkConfig(embed_dim=16, heads=2, fusion_depth=1, max_frames=9)


@pytest.mark.parametrize("head", list(HeadKind))
def test_weights_and_head_come_back(tmp_path, head):
    network = PoseNetwork(CONFIG, head)
    save_network(tmp_path / "a.safetensors", network, {"epoch": 3})
    again = load_network(tmp_path / "a.safetensors")
    assert again.head_kind is head
    for name, value in network.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)


def test_a_damaged_or_absent_file_is_refused_by_name(tmp_path):
    path = tmp_path / "a.safetensors"
    with pytest.raises(InputError, match=r"a\.safetensors: not a readable checkpoint"):
        load_network(path)
    save_network(path, PoseNetwork(CONFIG), {})
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="not a readable checkpoint"):
        load_network(path)


def test_a_tensor_that_does_not_fit_is_named_with_both_shapes(tmp_path):
    path = tmp_path / "a.safetensors"
    network = PoseNetwork(CONFIG)
    save_network(path, network, {})
    network.norm.weight = torch.nn.Parameter(torch.zeros(3))
    save_network(path, network, {})
    with pytest.raises(InputError, match=r"'norm\.weight' has shape \(3,\), expected shape \(16,\)"):
        load_network(path)


def test_every_flipped_byte_is_found(tmp_path):
    path = tmp_path / "a.safetensors"
    save_network(path, PoseNetwork(CONFIG), {"epoch": 3})
    whole = path.read_bytes()
    for place in (10, 200, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        with pytest.raises(InputError, match="not a readable checkpoint"):
            load_network(path)


def saved(folder, epoch, seed=0):
    torch.manual_seed(seed)
    network = PoseNetwork(CONFIG)
    optimiser = AdamW(network.parameters(), fused=True)
    network(torch.rand(1, 9, 17, 3)).sum().backward()
    optimiser.step()
    save_last(folder, network, optimiser, {"epoch": epoch})
    return network, optimiser


def test_last_brings_back_network_and_optimiser(tmp_path):
    network, optimiser = saved(tmp_path, 1)
    other, other_optimiser = saved(tmp_path.parent, 9, seed=1)
    assert load_last(tmp_path, other, other_optimiser) == {"epoch": 1}
    for name, value in network.state_dict().items():
        assert torch.equal(other.state_dict()[name], value), name
    for index, entries in optimiser.state_dict()["state"].items():
        for name, value in entries.items():
            assert torch.equal(other_optimiser.state_dict()["state"][index][name], value), (index, name)


def test_of_a_damaged_last_the_one_before_is_used(tmp_path, caplog):
    saved(tmp_path, 1)
    network, optimiser = saved(tmp_path, 2)
    assert load_last(tmp_path, network, optimiser) == {"epoch": 2}
    last = tmp_path / LAST_FILE
    content = bytearray(last.read_bytes())
    content[-5] ^= 1
    last.write_bytes(content)
    assert load_last(tmp_path, network, optimiser) == {"epoch": 1}
    assert "an older checkpoint is used" in caplog.text
    last.unlink()  # killed between two renames
    assert load_last(tmp_path, network, optimiser) == {"epoch": 1}
    (tmp_path / BEFORE_LAST_FILE).write_bytes(b"")
    assert load_last(tmp_path, network, optimiser) is None


def test_a_published_checkpoint_loads_by_its_suffix(reference_folder):
    assert load_network(reference_folder / "motionbert_small.bin").config.attn_depth == 1


def test_a_stranger_s_safetensors_file_is_refused(tmp_path):
    save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors")
    with pytest.raises(InputError, match="not a readable checkpoint of this project"):
        load_network(tmp_path / "x.safetensors")
