import pytest
import torch

from data_contracts.parameters import CorruptionParameters, DetectorNoise
from model.data.corruption import corrupt


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
        CorruptionParameters(noise=DetectorNoise()),
        CorruptionParameters(noise=DetectorNoise(), joint_share=0.5, fill="token"),
        CorruptionParameters(noise=DetectorNoise(), joint_share=0.5, fill="zero", clean_share=0.5),
        CorruptionParameters(joint_share=0.5, fill="zero", clean_share=1.0),
    ],
)
def test_the_target_stays_as_it_was_to_the_bit(parameters):
    poses = pose_2d()
    target = poses[..., :2]
    before = poses.clone()
    corrupted, _ = corrupt(poses, parameters, generator())
    corrupted += 1  # nor may what comes back share memory with it
    assert torch.equal(poses, before)
    assert torch.equal(target, before[..., :2])


def test_frames_and_joints_are_masked_in_the_wanted_shares():
    poses = pose_2d(2000)
    corrupted, masked = corrupt(poses, CorruptionParameters(frame_share=0.15), generator())
    changed = (corrupted != poses).any(dim=-1)  # (B, T, 17)
    assert torch.equal(changed, masked)
    assert torch.equal(changed.any(dim=-1), changed.all(dim=-1))
    assert changed.all(dim=-1).float().mean() == pytest.approx(0.15, abs=0.01)
    corrupted, masked = corrupt(poses, CorruptionParameters(joint_share=0.15), generator())
    changed = (corrupted != poses).any(dim=-1)
    assert torch.equal(changed, masked)
    assert changed.float().mean() == pytest.approx(0.15, abs=0.01)
    assert changed.all(dim=-1).float().mean() < 0.01


def test_a_frame_share_and_a_joint_share_add_up():
    parameters = CorruptionParameters(frame_share=0.2, joint_share=0.1, fill="zero")
    _, masked = corrupt(pose_2d(2000), parameters, generator())
    assert masked.float().mean() == pytest.approx(0.2 + 0.8 * 0.1, abs=0.005)
    assert masked.float().mean(dim=(1, 2)).std() > 0  # each sample draws its own


def test_clean_windows_are_spared_whole_and_the_others_changed_as_without_them():
    parameters = CorruptionParameters(noise=DetectorNoise(), joint_share=0.1, fill="zero", clean_share=0.4)
    poses = pose_2d(2000)
    corrupted, masked = corrupt(poses, parameters, generator())
    spared = (corrupted == poses).all(dim=(1, 2, 3))
    assert spared.float().mean() == pytest.approx(0.4, abs=0.03)
    assert not masked[spared].any()
    assert masked[~spared].float().mean() == pytest.approx(0.1, abs=0.005)
    assert (corrupted[~spared][..., :2] != poses[~spared][..., :2]).float().mean() > 0.99


def test_masked_joints_hold_a_standard_normal_or_zero():
    poses = pose_2d(2000)
    normal, _ = corrupt(poses, CorruptionParameters(joint_share=1.0), generator())
    assert normal.mean() == pytest.approx(0, abs=0.01)
    assert normal.std() == pytest.approx(1, abs=0.01)
    assert (corrupt(poses, CorruptionParameters(joint_share=1.0, fill="zero"), generator())[0] == 0).all()


def test_noise_moves_each_joint_by_its_own_spread():
    std = tuple(0.01 * (joint + 1) for joint in range(17))
    noise = DetectorNoise(std=std, outlier_share=0.0, jitter_std=0.0, key_every=1)
    noisy, masked = corrupt(pose_2d(3000), CorruptionParameters(noise=noise), generator())
    assert masked is None
    spread = (noisy - pose_2d(3000))[..., :2].std(dim=(0, 1, 3))
    torch.testing.assert_close(spread, torch.tensor(std), rtol=0.02, atol=0)


def test_noise_is_carried_between_key_frames():
    noise = DetectorNoise(std=(0.05,), outlier_share=0.0, jitter_std=0.0, key_every=5)
    offset = (corrupt(pose_2d(), CorruptionParameters(noise=noise), generator())[0] - pose_2d())[..., :2]
    straight = torch.linspace(0, 1, 10).view(1, 10, 1, 1)
    torch.testing.assert_close(offset, offset[:, :1].lerp(offset[:, -1:], straight), atol=1e-6, rtol=0)


def test_outliers_come_in_their_share_and_width():
    noise = DetectorNoise(std=(0.0,), outlier_share=0.25, outlier_range=0.4, jitter_std=0.0, key_every=1)
    offset = (corrupt(pose_2d(2000), CorruptionParameters(noise=noise), generator())[0] - pose_2d(2000))[..., :2]
    assert (offset != 0).any(dim=-1).float().mean() == pytest.approx(0.25, abs=0.01)
    assert offset.abs().max() == pytest.approx(0.2, abs=1e-3)


def test_confidence_falls_with_the_displacement_as_the_formula_says():
    noise = DetectorNoise(std=(0.05,), confidence_a=0.1, confidence_b=0.0, confidence_std=0.0)
    noisy, _ = corrupt(pose_2d(500), CorruptionParameters(noise=noise), generator())
    distance = (noisy - pose_2d(500))[..., :2].norm(dim=-1)
    torch.testing.assert_close(noisy[..., 2], 0.1 / (distance + 0.1), atol=1e-4, rtol=0)
    spread = noise.model_copy(update={"confidence_std": 0.1})
    assert corrupt(pose_2d(500), CorruptionParameters(noise=spread), generator())[0][..., 2].min() >= 0
    assert corrupt(pose_2d(500), CorruptionParameters(noise=spread), generator())[0][..., 2].max() <= 1


def test_padding_keeps_its_confidence_of_zero():
    poses = pose_2d()
    poses[:, 6:, :, 2] = 0
    noisy, _ = corrupt(poses, CorruptionParameters(noise=DetectorNoise()), generator())
    assert (noisy[:, 6:, :, 2] == 0).all()


def test_the_same_generator_state_gives_the_same_corruption():
    parameters = CorruptionParameters(frame_share=0.1, joint_share=0.1, noise=DetectorNoise())
    first, second = (corrupt(pose_2d(), parameters, generator(7))[0] for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, corrupt(pose_2d(), parameters, generator(8))[0])
