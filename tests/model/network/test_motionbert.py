import numpy as np
import pytest
import torch

from data_contracts.errors import InputError
from model.network.motionbert import load_motionbert
from tests.model.network.eager_dstformer import EagerDSTformer


def test_a_published_checkpoint_gives_the_published_numbers(reference_folder):
    network = load_motionbert(reference_folder / "motionbert_small.bin")
    reference = np.load(reference_folder / "motionbert_small.npz")
    with torch.no_grad():
        features = network.norm(network.backbone(torch.from_numpy(reference["x"])))
        representation = network.head.representation(features)
        output = network(torch.from_numpy(reference["x"]))
    np.testing.assert_allclose(representation, reference["rep"], atol=1e-5)
    np.testing.assert_allclose(output, reference["y"], atol=1e-5)


def test_compiled_and_eager_forms_give_the_published_numbers(reference_folder):
    network = load_motionbert(reference_folder / "motionbert_small.bin")
    reference = np.load(reference_folder / "motionbert_small.npz")
    eager = EagerDSTformer(network.config)
    eager.load_state_dict(network.state_dict())
    for run in (torch.compile(network, backend="aot_eager", fullgraph=True), eager):
        with torch.no_grad():
            np.testing.assert_allclose(run(torch.from_numpy(reference["x"])), reference["y"], atol=1e-5)


def test_a_checkpoint_that_does_not_fit_names_the_tensor_and_both_shapes(reference_folder, tmp_path):
    content = torch.load(reference_folder / "motionbert_small.bin", weights_only=True)
    content["model_pos"]["module.norm.weight"] = torch.zeros(5)
    torch.save(content, tmp_path / "bad.bin")
    with pytest.raises(InputError, match=r"'norm\.weight' has shape \(5,\), expected shape \(32,\)"):
        load_motionbert(tmp_path / "bad.bin")


def test_other_files_are_refused(tmp_path):
    (tmp_path / "text.bin").write_text("no checkpoint")
    torch.save({"state_dict": {}}, tmp_path / "other.bin")
    for name, message in (("text.bin", "not a readable"), ("other.bin", "model_pos"), ("absent.bin", "not a readable")):
        with pytest.raises(InputError, match=message):
            load_motionbert(tmp_path / name)
