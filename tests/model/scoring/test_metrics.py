import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from model.scoring.metrics import auc, joint_errors, mpjpe, n_mpjpe, p_mpjpe, pck


@pytest.fixture
def poses():
    random = torch.Generator().manual_seed(0)
    return torch.randn(5, 4, 17, 3, generator=random), torch.randn(5, 4, 17, 3, generator=random)


def test_errors_agree_with_the_reference(reference_folder):
    reference = np.load(reference_folder / "losses_small.npz")
    pred, target = torch.from_numpy(reference["pred"]), torch.from_numpy(reference["target"])
    np.testing.assert_allclose(mpjpe(pred, target), reference["mpjpe"], atol=1e-5)
    np.testing.assert_allclose(p_mpjpe(pred, target), reference["p_mpjpe"], atol=1e-5)
    np.testing.assert_allclose(n_mpjpe(pred, target).mean(), reference["n_mpjpe"], atol=1e-5)


def test_the_velocity_error_agrees_with_the_reference(reference_folder):
    reference = np.load(reference_folder / "losses_small.npz")
    pred, target = torch.from_numpy(reference["pred"]), torch.from_numpy(reference["target"])
    error = mpjpe(pred.diff(dim=1), target.diff(dim=1)).mean()
    assert float(error) == pytest.approx(float(reference["velocity"]), abs=1e-5)


def test_gradients_are_finite_where_joints_meet_and_errors_vanish(poses):
    target = poses[1]
    point = torch.zeros_like(target)
    for metric in (mpjpe, n_mpjpe):
        for start, goal in ((point, target), (target, target), (point, point)):
            pred = start.clone().requires_grad_()
            error = metric(pred, goal).sum()
            (gradient,) = torch.autograd.grad(error, pred)
            assert torch.isfinite(error)
            assert torch.isfinite(gradient).all()


def test_auc_is_the_mean_of_pck_over_its_thresholds(poses):
    pred, target = 100 * poses[0], 100 * poses[1]
    expected = torch.stack([pck(pred, target, float(mm)) for mm in range(0, 151, 5)]).mean(dim=0)
    torch.testing.assert_close(auc(pred, target), expected)


def test_one_value_per_pose(poses):
    for value in (mpjpe(*poses), p_mpjpe(*poses), n_mpjpe(*poses), pck(*poses, 1.0)):
        assert value.shape == (5, 4)


def test_a_known_offset_is_measured_in_the_poses_unit(poses):
    moved = poses[0] + torch.tensor([3.0, 0.0, 4.0])
    torch.testing.assert_close(mpjpe(moved, poses[0]), torch.full((5, 4), 5.0))
    assert joint_errors(moved, poses[0]).shape == (5, 4, 17)


def test_procrustes_undoes_rotation_scale_and_translation_but_no_reflection(poses):
    target = poses[0]
    rotation = torch.from_numpy(Rotation.random(rng=0).as_matrix()).float()
    similar = 1.7 * target @ rotation.T + 0.3
    assert p_mpjpe(similar, target).max() < 1e-5
    reflected = target * torch.tensor([-1.0, 1.0, 1.0])
    assert p_mpjpe(reflected, target).min() > 0.1


def test_scale_alone_is_undone_by_n_mpjpe(poses):
    assert n_mpjpe(0.2 * poses[0], poses[0]).max() < 1e-5


def test_procrustes_never_is_the_worse_fit(poses):
    centred = [p - p.mean(dim=-2, keepdim=True) for p in poses]
    squared = (p_mpjpe(*poses) ** 2).mean()
    assert squared < (mpjpe(*centred) ** 2).mean()


def test_a_pose_in_one_point_has_a_finite_error(poses):
    point = torch.zeros_like(poses[0])
    for pred, target in ((point, poses[1]), (poses[0], point), (point, point)):
        for metric in (mpjpe, p_mpjpe, n_mpjpe):
            assert torch.isfinite(metric(pred, target)).all()


def test_pck_counts_joints_within_the_threshold():
    target = torch.zeros(17, 3)
    pred = target.clone()
    pred[:5, 0] = 151.0
    assert pck(pred, target, 150.0) == pytest.approx(12 / 17)
