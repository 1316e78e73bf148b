import pytest
import torch

from data_contracts.parameters import CorruptionParameters
from model.corruption import corrupt


def pose_2d(batch=64):
    poses = torch.rand(batch, 10, 17, 3, generator=torch.Generator().manual_seed(3)) * 2 - 1
    poses[..., 2] = 1
    return poses


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    "parameters",
    [
        CorruptionParameters(),
        CorruptionParameters(frame_share=0.15, joint_share=0.15),
        CorruptionParameters(joint_share=1.0, fill="zero"),
        CorruptionParameters(noise_std=0.1),
    ],
)
def test_the_target_stays_as_it_was_to_the_bit(parameters):
    poses = pose_2d()
    target = poses[..., :2]
    before = poses.clone()
    corrupted = corrupt(poses, parameters, generator())
    corrupted += 1  # nor may what comes back share memory with it
    assert torch.equal(poses, before)
    assert torch.equal(target, before[..., :2])


def test_frames_and_joints_are_masked_in_the_wanted_shares():
    poses = pose_2d(2000)
    changed = (corrupt(poses, CorruptionParameters(frame_share=0.15), generator()) != poses).any(dim=-1)  # (B, T, 17)
    assert torch.equal(changed.any(dim=-1), changed.all(dim=-1))
    assert changed.all(dim=-1).float().mean() == pytest.approx(0.15, abs=0.01)
    changed = (corrupt(poses, CorruptionParameters(joint_share=0.15), generator()) != poses).any(dim=-1)
    assert changed.float().mean() == pytest.approx(0.15, abs=0.01)
    assert changed.all(dim=-1).float().mean() < 0.01


def test_masked_joints_hold_a_standard_normal_or_zero():
    poses = pose_2d(2000)
    normal = corrupt(poses, CorruptionParameters(joint_share=1.0), generator())
    assert normal.mean() == pytest.approx(0, abs=0.01)
    assert normal.std() == pytest.approx(1, abs=0.01)
    assert (corrupt(poses, CorruptionParameters(joint_share=1.0, fill="zero"), generator()) == 0).all()


def test_noise_moves_joints_and_lowers_their_confidence():
    poses = pose_2d(500)
    noisy = corrupt(poses, CorruptionParameters(noise_std=0.05), generator())
    offset = noisy[..., :2] - poses[..., :2]
    assert offset.std() == pytest.approx(0.05, rel=0.02)
    distance, confidence = offset.norm(dim=-1).flatten(), noisy[..., 2].flatten()
    nearest_first = confidence[distance.argsort()]
    assert (nearest_first.diff() <= 1e-6).all()
    assert confidence.max() <= 1


def test_the_same_generator_state_gives_the_same_corruption():
    parameters = CorruptionParameters(frame_share=0.1, joint_share=0.1, noise_std=0.01)
    first, second = (corrupt(pose_2d(), parameters, generator(7)) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, corrupt(pose_2d(), parameters, generator(8)))
