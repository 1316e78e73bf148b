import pytest
import torch

from data_contracts.parameters import HeadKind, NetworkConfig
from data_contracts.parameters.presets import load_preset
from model.network.attention import SHORT_MAX, attend
from model.network.network import PoseNetwork
from model.training.loop import build_network
from tests.model.network.eager_dstformer import EagerDSTformer

SMALL = NetworkConfig(embed_dim=16, heads=4, fusion_depth=2, attn_depth=2, max_frames=12)


def make(config=SMALL, head=HeadKind.JOINTS):
    return build_network(lambda: PoseNetwork(config, head), seed=0)


def windows(frames=9, batch=3):
    return torch.randn(batch, frames, 17, 3, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def eager_dstformer():
    """The plain eager network."""
    return EagerDSTformer


def pair(eager_dstformer, fusion_depth=2):
    """MotionBERT's network (attn_depth 1) and the plain eager one, with the same weights, none at a special value."""
    config = NetworkConfig(embed_dim=32, heads=4, fusion_depth=fusion_depth, rep_dim=16)
    network, eager = make(config), eager_dstformer(config)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2))
    eager.load_state_dict(network.state_dict())
    return network, eager


def assert_same_gradients(network, eager):
    for name, parameter in network.named_parameters():
        expected = eager.get_parameter(name).grad
        error = (parameter.grad - expected).abs().max()
        assert error <= 1e-5 * max(1.0, expected.abs().max()), f"{name}: {error}"


def test_the_seed_presets_head_has_8449_parameters():
    network = PoseNetwork(load_preset("seed").pretrain.network, load_preset("seed").finetune.head)
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


@pytest.mark.parametrize("frames", [1, 9, 27, 243])
def test_outputs_and_gradients_are_those_of_the_network_as_its_formulas_read(frames, eager_dstformer):
    network, eager, pose_2d = *pair(eager_dstformer), windows(frames, batch=2)
    expected = eager(pose_2d)
    output = network(pose_2d)
    with torch.no_grad():
        inferred = network(pose_2d)
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(inferred, expected, rtol=0, atol=1e-5)
    expected.square().sum().backward()
    output.square().sum().backward()
    assert_same_gradients(network, eager)


@pytest.mark.parametrize("frames", [9, 243])
def test_compiled_it_gives_the_same_outputs_and_gradients(frames, eager_dstformer):
    """Traced as for inductor, which itself takes minutes: so this test does not run it."""
    network, eager, pose_2d = *pair(eager_dstformer, fusion_depth=1), windows(frames, batch=1)
    expected, output = eager(pose_2d), torch.compile(network, backend="aot_eager", fullgraph=True)(pose_2d)
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-5)
    expected.square().sum().backward()
    output.square().sum().backward()
    assert_same_gradients(network, eager)


@pytest.mark.parametrize("length", [1, 5, SHORT_MAX + 3])
def test_attention_is_softmax_of_the_scaled_products_and_so_is_its_gradient(length):
    qkv = torch.randn(2, length, 3 * 8, dtype=torch.float64, requires_grad=True)
    q, k, v = qkv.view(2, length, 3, 2, 4).permute(2, 0, 3, 1, 4)
    expected = ((q @ k.transpose(-2, -1) / 2).softmax(dim=-1) @ v).transpose(1, 2).reshape(2, length, 8)
    torch.testing.assert_close(attend(qkv, heads=2), expected)
    if length <= SHORT_MAX:
        assert torch.autograd.gradcheck(lambda x: attend(x, 2), (qkv,))


@pytest.mark.parametrize("logit", [-900.0, 0.0, 900.0])
def test_attention_stands_logits_whose_exponentials_float32_cannot_hold(logit):
    qkv = torch.randn(2, 5, 3 * 4)
    qkv[..., :4], qkv[..., 4:8] = 2.0 + qkv[..., :4] / 10, logit / 4 + qkv[..., 4:8]
    qkv.requires_grad_()
    exact_qkv = qkv.detach().double().requires_grad_()
    q, k, v = exact_qkv.split(4, dim=-1)
    output, exact = attend(qkv, heads=1), (q @ k.transpose(-2, -1) / 2).softmax(dim=-1) @ v
    output.square().sum().backward()
    exact.square().sum().backward()
    torch.testing.assert_close(output.double(), exact, rtol=0, atol=1e-3)  # float32 rounds logits of 900 by 1e-4
    torch.testing.assert_close(qkv.grad.double(), exact_qkv.grad, rtol=1e-2, atol=0.1)


def test_bfloat16_stays_near_float32_and_keeps_float32_gradients(eager_dstformer):
    network, _ = pair(eager_dstformer)
    for frames in (9, 50):
        exact = network(windows(frames))
        with torch.autocast("cpu", torch.bfloat16):
            output = network(windows(frames))
        assert (output - exact).abs().max() < 0.03 * exact.abs().max()
    output.float().square().sum().backward()
    assert all(p.grad.dtype == torch.float32 and p.grad.isfinite().all() for p in network.parameters())


def test_a_frame_is_told_apart_by_when_it_is():
    """Without frame positions, exchanging two frames of the input would only exchange the output."""
    network, pose_2d = make().eval(), windows()
    order = torch.tensor([1, 0, *range(2, 9)])
    assert not torch.allclose(network(pose_2d[:, order]), network(pose_2d)[:, order], atol=1e-6)


def test_windows_of_a_batch_do_not_see_each_other():
    network, pose_2d = make().eval(), windows()
    torch.testing.assert_close(network(pose_2d)[1:2], network(pose_2d[1:2]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_gradient_checkpointing_changes_memory_and_not_results(precision):
    results = []
    for checkpointing in (False, True):
        network, kept = make(), []
        network.backbone.gradient_checkpointing = checkpointing
        with (
            torch.autograd.graph.saved_tensors_hooks(lambda x, kept=kept: kept.append(x.nbytes) or x, lambda x: x),
            torch.autocast("cpu", torch.bfloat16, enabled=precision is torch.bfloat16),
        ):
            loss = network(windows()).float().square().sum()
        held = sum(kept)
        loss.backward()
        results.append((held, loss.detach(), [p.grad for p in network.parameters()]))
    (held, loss, gradients), (held_less, loss_again, gradients_again) = results
    assert held_less < held / 4
    torch.testing.assert_close(loss_again, loss)
    torch.testing.assert_close(gradients_again, gradients)
