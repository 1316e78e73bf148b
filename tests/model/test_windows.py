import torch

from data_contracts.skeleton import MIRROR
from model.windows import mirror


def test_mirror_twice_is_identity_and_exchanges_sides():
    pose = torch.randn(2, 5, 17, 3)
    assert torch.equal(mirror(mirror(pose)), pose)
    mirrored = mirror(pose)
    assert torch.equal(mirrored[:, :, 3, 1:], pose[:, :, 6, 1:])
    assert torch.equal(mirrored[..., 0], -pose[:, :, list(MIRROR), 0])


def test_only_the_chosen_windows_are_mirrored_and_the_source_stays(windows):
    train, _ = windows
    before = train.pose_2d.clone()
    batch = train.batch(torch.tensor([0, 1]), mirrored=torch.tensor([True, False]))
    assert torch.equal(batch.pose_2d[0], mirror(train.pose_2d[0]))
    assert torch.equal(batch.pose_3d[0], mirror(train.pose_3d[0]))
    assert torch.equal(batch.pose_2d[1], train.pose_2d[1])
    assert torch.equal(train.pose_2d, before)
