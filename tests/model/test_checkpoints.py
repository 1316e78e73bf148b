import pytest
import torch
from safetensors.torch import load_file, save_file

from data_contracts.errors import InputError
from data_contracts.parameters import DSTformerConfig, HeadKind
from model.checkpoints import load_network, save_network
from model.dstformer import DSTformer

CONFIG = DSTformerConfig(embed_dim=16, heads=2, fusion_depth=1, max_frames=9)


@pytest.mark.parametrize("head", list(HeadKind))
def test_weights_and_head_come_back(tmp_path, head):
    network = DSTformer(CONFIG, head)
    save_network(tmp_path / "a.safetensors", network, {"epoch": 3})
    again = load_network(tmp_path / "a.safetensors")
    assert again.head_kind is head
    for name, value in network.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)


def test_a_damaged_or_absent_file_is_refused_by_name(tmp_path):
    path = tmp_path / "a.safetensors"
    with pytest.raises(InputError, match=r"a\.safetensors: not a readable checkpoint"):
        load_network(path)
    save_network(path, DSTformer(CONFIG), {})
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="not a readable checkpoint"):
        load_network(path)


def test_a_tensor_that_does_not_fit_is_named_with_both_shapes(tmp_path):
    from safetensors import safe_open

    path = tmp_path / "a.safetensors"
    save_network(path, DSTformer(CONFIG), {})
    tensors = load_file(path) | {"network.norm.weight": torch.zeros(3)}
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    save_file(tensors, path, metadata=metadata)
    with pytest.raises(InputError, match=r"'norm\.weight' has shape \(3,\), the network \(16,\)"):
        load_network(path)


def test_a_stranger_s_safetensors_file_is_refused(tmp_path):
    save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors")
    with pytest.raises(InputError, match="not a readable checkpoint of this project"):
        load_network(tmp_path / "x.safetensors")
