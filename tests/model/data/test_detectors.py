"""Windows as detectors of other skeletons show them."""

import pytest
import torch

from data_contracts.detector_skeletons import SKELETONS, Detector
from data_contracts.parameters import CorruptionParameters
from model.data.batches import Batch
from model.data.corruption import derived_joints, draw_detectors

HALF = CorruptionParameters(skeletons_share=0.5)
ALWAYS = CorruptionParameters(skeletons_share=1.0)


def windows(count=40, frames=9):
    """Seen orthographically: the 2D is the 3D's x and y, moved and scaled to its box; two frames are padding."""
    random = torch.Generator().manual_seed(5)
    metres = torch.randn(count, frames, 17, 3, generator=random) * 0.4
    metres[:, -2:] = metres[:, -3:-2]
    low, high = metres[..., :2].amin(dim=(1, 2)), metres[..., :2].amax(dim=(1, 2))
    scale = 2 / (high - low).amax(dim=1)
    xy = (metres[..., :2] - ((low + high) / 2)[:, None, None]) * scale.view(-1, 1, 1, 1)
    weight = torch.ones(count, frames)
    weight[:, -2:] = 0
    confidence = weight[..., None, None].expand(-1, -1, 17, 1)
    pose_3d = (metres - metres[:, :, :1]) * scale.view(-1, 1, 1, 1)
    return Batch(torch.cat((xy, confidence), dim=-1), pose_3d, weight, scale)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def changed(before, after):
    return (before != after).flatten(1).any(dim=1)


def test_without_a_share_nothing_is_drawn_or_changed():
    random, given = generator(), windows()
    state = random.get_state()
    batch, shown = draw_detectors(given, CorruptionParameters(), random)
    assert batch is given
    assert shown is given.pose_2d
    assert torch.equal(random.get_state(), state)


def test_the_wanted_share_of_windows_is_shown_by_a_detector_and_the_rest_keeps_its_bits():
    before = windows(4000, frames=3)
    after, shown = draw_detectors(before, HALF, generator())
    moved = changed(before.pose_2d, shown)
    assert moved.float().mean() == pytest.approx(0.5, abs=0.03)
    for name in ("pose_2d", "pose_3d", "scale"):
        assert torch.equal(getattr(after, name)[~moved], getattr(before, name)[~moved])


def test_one_detector_shows_a_whole_window_and_all_of_them_come_up():
    before = windows(300)
    names = (Detector.COCO17, Detector.HALPE26, Detector.BODY25B)
    _, shown = draw_detectors(before, CorruptionParameters(skeletons_share=1.0, skeletons=names), generator())
    candidates = torch.stack([derived_joints(before, matrix(name))[1] for name in names])
    distance = (candidates - shown).abs().flatten(2).amax(dim=2)  # (detectors, B)
    assert distance.amin(dim=0).max() < 1e-5
    assert distance.argmin(dim=0).bincount().min() > 50


def matrix(name):
    return torch.from_numpy(SKELETONS[name].derived)[None]


@pytest.mark.parametrize("name", list(Detector))
def test_what_is_shown_is_what_the_detectors_table_says_in_a_box_of_its_own(name):
    before = windows()
    _, shown = derived_joints(before, matrix(name))
    joints = SKELETONS[name].derived @ before.pose_2d[..., :2].numpy()  # (B, T, 17, 2)
    low, high = joints.min(axis=(1, 2), keepdims=True), joints.max(axis=(1, 2), keepdims=True)
    expected = (joints - (low + high) / 2) * 2 / (high - low).max(axis=-1, keepdims=True)
    torch.testing.assert_close(shown[..., :2], torch.from_numpy(expected), atol=1e-5, rtol=0)
    assert shown[..., :2].abs().max() == pytest.approx(1, abs=1e-5)
    assert torch.equal(shown[..., 2], before.pose_2d[..., 2])


def test_the_target_stays_h36ms_to_the_millimetre_and_fits_the_image():
    before, after = windows(), draw_detectors(windows(), ALWAYS, generator())[0]
    assert changed(before.pose_3d, after.pose_3d).any()
    metres = [batch.pose_3d / batch.scale.view(-1, 1, 1, 1) for batch in (before, after)]
    torch.testing.assert_close(*metres)
    flat = after.pose_2d[..., :2] - after.pose_2d[:, :, :1, :2]  # the target's x and y, orthographic
    torch.testing.assert_close(flat, after.pose_3d[..., :2], atol=1e-5, rtol=1e-5)


def test_h36ms_own_skeleton_changes_nothing():
    before = windows()
    after, shown = derived_joints(before, matrix(Detector.H36M17))
    torch.testing.assert_close(shown, before.pose_2d, atol=1e-5, rtol=0)
    torch.testing.assert_close(after.scale, before.scale)


def test_the_same_generator_state_draws_the_same_detectors():
    first, second = (draw_detectors(windows(), HALF, generator(7))[1] for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, draw_detectors(windows(), HALF, generator(8))[1])
