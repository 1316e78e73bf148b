import pytest
import torch

from model.baselines import linear
from model.baselines.linear import RIDGE_PENALTIES, fit_linear, fit_mean_depth
from model.scoring.metrics import mpjpe


def test_mean_depth_takes_x_and_y_from_the_input_and_z_from_training(windows):
    train, val = windows
    lifted = fit_mean_depth(train)(val.pose_2d)
    torch.testing.assert_close(lifted[..., :2], val.pose_3d[..., :2], rtol=0, atol=1e-5)  # orthographic: exact
    expected = train.pose_3d[train.frame_weight.bool()][..., 2].mean(dim=0)
    torch.testing.assert_close(lifted[0, 0, :, 2], expected, rtol=1e-4, atol=1e-5)


def test_ridge_finds_a_linear_map_where_there_is_one(windows):
    train, val = windows
    for split in (train, val):
        flat = split.pose_2d[..., :2].clone()
        split.pose_3d = torch.cat((flat, flat.sum(dim=-1, keepdim=True)), dim=-1)
        split.pose_3d -= split.pose_3d[:, :, :1].clone()
    predict, alpha = fit_linear(train, val)
    assert alpha == 1.0
    assert mpjpe(predict(train.pose_2d), train.pose_3d).mean() < 0.05


def test_ridge_leaves_padded_windows_out(windows):
    train, val = windows
    train.frame_weight[0, -1] = 0
    train.pose_3d[0] = 1e6
    again, _ = fit_linear(train, val)
    assert again(val.pose_2d).abs().max() < 10


def test_one_decomposition_gives_the_weights_that_a_solve_of_the_chosen_penalty_gives(windows):
    train, val = windows
    regression, penalty = fit_linear(train, val)
    assert penalty in RIDGE_PENALTIES
    whole = train.frame_weight.all(dim=1)
    x = train.pose_2d[whole][..., :2].flatten(1).double()
    x = torch.cat((x, x.new_ones(len(x), 1)), dim=1)
    moment = x.T @ train.pose_3d[whole].flatten(1).double()
    solved = torch.linalg.solve(x.T @ x + penalty * torch.eye(x.shape[1], dtype=torch.float64), moment)
    torch.testing.assert_close(regression.weights, solved.float(), rtol=1e-4, atol=1e-5)


def test_the_penalty_is_the_one_with_the_least_validation_error(windows):
    train, val = windows
    _, penalty = fit_linear(train, val)
    errors = {}
    for only in RIDGE_PENALTIES:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(linear, "RIDGE_PENALTIES", (only,))
            lifted = fit_linear(train, val)[0](val.pose_2d)
        weight = val.frame_weight / val.scale[:, None]
        errors[only] = float((mpjpe(lifted, val.pose_3d) * weight).sum())
    assert penalty == min(errors, key=errors.get)
