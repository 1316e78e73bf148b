import torch

from model.scoring.baselines import linear, mean_depth
from model.scoring.metrics import mpjpe


def test_mean_depth_takes_x_and_y_from_the_input_and_z_from_training(windows):
    train, val = windows
    lifted = mean_depth(train)(val.pose_2d)
    torch.testing.assert_close(lifted[..., :2], val.pose_3d[..., :2], rtol=0, atol=1e-5)  # orthographic: exact
    expected = train.pose_3d[train.frame_weight.bool()][..., 2].mean(dim=0)
    torch.testing.assert_close(lifted[0, 0, :, 2], expected, rtol=1e-4, atol=1e-5)


def test_ridge_finds_a_linear_map_where_there_is_one(windows):
    train, val = windows
    for split in (train, val):
        flat = split.pose_2d[..., :2].clone()
        split.pose_3d = torch.cat((flat, flat.sum(dim=-1, keepdim=True)), dim=-1)
        split.pose_3d -= split.pose_3d[:, :, :1].clone()
    predict, alpha = linear(train, val)
    assert alpha == 1.0
    assert mpjpe(predict(train.pose_2d), train.pose_3d).mean() < 0.05


def test_ridge_leaves_padded_windows_out(windows):
    train, val = windows
    train.frame_weight[0, -1] = 0
    train.pose_3d[0] = 1e6
    again, _ = linear(train, val)
    assert again(val.pose_2d).abs().max() < 10
