import numpy as np
import torch

from data_contracts.parameters import LossWeights
from model.training.losses import ErrorWeights, focal_weight, pose_loss


def poses(frames=6):
    random = torch.Generator().manual_seed(0)
    return torch.randn(2, frames, 17, 3, generator=random), torch.randn(2, frames, 17, 3, generator=random)


def test_terms_agree_with_the_reference(reference_folder):
    reference = np.load(reference_folder / "losses_small.npz")
    pred, target = torch.from_numpy(reference["pred"]), torch.from_numpy(reference["target"])
    everything = torch.ones(pred.shape[:2])

    def term(**weights):
        return float(pose_loss(pred, target, ErrorWeights.of(everything), LossWeights(**{"mpjpe": 0, **weights})))

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
    loss = pose_loss(pred, target, ErrorWeights.of(weight), weights)
    pred[1, 4:] = 1e3
    torch.testing.assert_close(pose_loss(pred, target, ErrorWeights.of(weight), weights), loss)


def test_gradients_are_finite_where_prediction_and_target_meet():
    pred, target = poses()
    pred = target.clone().requires_grad_()
    for gamma in (0.0, 2.0):
        pose_loss(
            pred, target, ErrorWeights.of(torch.ones(2, 6)), LossWeights(n_mpjpe=0.5, velocity=20), gamma
        ).backward()
    zero = torch.zeros_like(target).requires_grad_()
    pose_loss(zero, target, ErrorWeights.of(torch.ones(2, 6)), LossWeights(n_mpjpe=0.5, velocity=20)).backward()
    assert torch.isfinite(pred.grad).all()
    assert torch.isfinite(zero.grad).all()


def test_the_focal_weight_grows_with_the_error_and_bears_no_gradient():
    errors = torch.tensor([0.0, 0.01, 0.1, 1.0], requires_grad=True)
    weight = focal_weight(errors, gamma=2.0)
    assert weight[0] == 0
    assert (weight.diff() > 0).all()
    assert not weight.requires_grad


def test_pieces_of_a_step_add_up_to_it():
    pred, target = poses()
    weight = torch.ones(2, 6)
    weight[1, 2:] = 0  # pieces of unequal weight
    masked = torch.rand(2, 6, 17, generator=torch.Generator().manual_seed(1)) < 0.3
    weights = LossWeights(mpjpe=1, n_mpjpe=0.5, velocity=20)
    for error_weights in (ErrorWeights.of(weight), ErrorWeights.of(weight, masked)):
        whole = pose_loss(pred, target, error_weights, weights, 2.0)
        pieces = [
            pose_loss(pred[i : i + 1], target[i : i + 1], error_weights[i : i + 1], weights, 2.0) for i in range(2)
        ]
        torch.testing.assert_close(sum(pieces), whole)


def test_masked_joints_alone_count_where_that_is_asked_for():
    pred, target = poses()
    masked = torch.zeros(2, 6, 17, dtype=torch.bool)
    masked[0, 3, 5] = True
    loss = pose_loss(pred, target, ErrorWeights.of(torch.ones(2, 6), masked), LossWeights())
    torch.testing.assert_close(loss, (pred - target)[0, 3, 5].norm())
    only = pose_loss(pred, target, ErrorWeights.of(torch.ones(2, 6), masked), LossWeights(mpjpe=0, velocity=1))
    steps = (pred.diff(dim=1) - target.diff(dim=1))[0, 2:4, 5].norm(dim=-1)
    torch.testing.assert_close(only, steps.mean())
