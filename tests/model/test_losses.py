import numpy as np
import torch

from data_contracts.parameters import LossWeights
from model.losses import focal_weight, pose_loss


def poses(frames=6):
    random = torch.Generator().manual_seed(0)
    return torch.randn(2, frames, 17, 3, generator=random), torch.randn(2, frames, 17, 3, generator=random)


def test_terms_agree_with_the_reference(parity_folder):
    reference = np.load(parity_folder / "losses_small.npz")
    pred, target = torch.from_numpy(reference["pred"]), torch.from_numpy(reference["target"])
    everything = torch.ones(pred.shape[:2])

    def term(**weights):
        return float(pose_loss(pred, target, everything, LossWeights(**{"mpjpe": 0, **weights})))

    np.testing.assert_allclose(term(n_mpjpe=1), reference["n_mpjpe"], atol=1e-5)
    np.testing.assert_allclose(term(velocity=1), reference["velocity"], atol=1e-5)
    np.testing.assert_allclose(
        term(mpjpe=2, velocity=3), 2 * reference["mpjpe"].mean() + 3 * reference["velocity"], atol=1e-5
    )


def test_padding_counts_nothing():
    pred, target = poses()
    weight = torch.ones(2, 6)
    weight[1, 4:] = 0
    weights = LossWeights(mpjpe=1, n_mpjpe=0.5, velocity=20)
    loss = pose_loss(pred, target, weight, weights)
    pred[1, 4:] = 1e3
    torch.testing.assert_close(pose_loss(pred, target, weight, weights), loss)


def test_gradients_are_finite_where_prediction_and_target_meet():
    pred, target = poses()
    pred = target.clone().requires_grad_()
    for gamma in (0.0, 2.0):
        pose_loss(pred, target, torch.ones(2, 6), LossWeights(n_mpjpe=0.5, velocity=20), gamma).backward()
    zero = torch.zeros_like(target).requires_grad_()
    pose_loss(zero, target, torch.ones(2, 6), LossWeights(n_mpjpe=0.5, velocity=20)).backward()
    assert torch.isfinite(pred.grad).all()
    assert torch.isfinite(zero.grad).all()


def test_the_focal_weight_grows_with_the_error_and_bears_no_gradient():
    errors = torch.tensor([0.0, 0.01, 0.1, 1.0], requires_grad=True)
    weight = focal_weight(errors, gamma=2.0)
    assert weight[0] == 0
    assert (weight.diff() > 0).all()
    assert not weight.requires_grad
