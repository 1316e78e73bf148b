"""Causal lifting: a pose depends on earlier frames only, and lifting a file equals pushing its frames."""

import numpy as np
import pytest
import torch
from torch import nn

from data_contracts.parameters import LiftParameters
from model.lifting.lift import lift_people
from model.lifting.lifter import Lifter
from model.lifting.live import LiveLifter
from tests.model.lifting.walkers import CAMERA, before_a_camera, flat_lifter, seen, track_of


class Remembering(nn.Module):
    """Records its input."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.shown = []

    def forward(self, pose_2d):
        self.shown.append(pose_2d[0])
        return torch.cat((pose_2d[..., :2], torch.zeros_like(pose_2d[..., :1])), dim=-1)


def push_all(frames, **changes):
    live = LiveLifter(flat_lifter(), CAMERA, **({"fps": 60.0, "height": 1.7} | changes))
    return np.stack([live.push(frame) for frame in frames])


def test_later_frames_do_not_change_earlier_poses(walking):
    frames = seen(before_a_camera(walking))[:60]
    whole = push_all(frames)
    other = frames.copy()
    other[30:, :, :2] += 100
    np.testing.assert_array_equal(push_all(other)[:30], whole[:30])
    assert np.abs(push_all(other)[30:] - whole[30:]).max() > 0.01


def test_window_contains_the_previous_frames_and_is_padded(walking):
    network = Remembering().eval()
    live = LiveLifter(Lifter(network, 5, 60.0, flip=False), CAMERA, 60.0, 1.7)
    frames = seen(before_a_camera(walking))[:8]
    for frame in frames:
        live.push(frame)
    told = [window[:, 0, 2].tolist() for window in network.shown]
    assert told == [[1] * min(n, 5) + [0] * max(5 - n, 0) for n in range(1, 9)]
    first = network.shown[0]
    assert torch.equal(first[1:, :, :2], first[:1, :, :2].expand(4, -1, -1))
    np.testing.assert_allclose(
        network.shown[7][3, :, :2].diff(dim=0), network.shown[6][4, :, :2].diff(dim=0), atol=0.05
    )


@pytest.mark.parametrize("fps", [30.0, 120.0])
def test_window_has_the_rate_of_the_network(walking, fps):
    network = Remembering().eval()
    live = LiveLifter(Lifter(network, 5, 60.0, flip=False), CAMERA, fps, 1.7)
    body = seen(before_a_camera(walking))[:1]
    frames = np.repeat(body, 30, axis=0)
    frames[..., 0] += (np.arange(30) * 60 / fps)[:, None]  # one pixel per frame of the network
    for frame in frames:
        live.push(frame)
    last = network.shown[-1]
    steps = (last[1:, 0, 0] - last[:-1, 0, 0]).numpy()
    np.testing.assert_allclose(steps, steps[0], atol=1e-4)
    height_px = np.ptp(body[0, :, 1])
    assert steps[0] / float(last[0, :, 1].max() - last[0, :, 1].min()) == pytest.approx(1 / height_px, rel=0.05)


def test_frames_without_a_person_are_zeros(walking):
    frames = seen(before_a_camera(walking))[:20]
    frames[[0, 10]] = 0
    assert np.isfinite(push_all(frames)).all()


def test_frame_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"\(17, 2\)"):
        push_all([np.zeros((17, 2))])


def test_causal_lifting_of_a_file_equals_live_lifting(walking):
    joints = before_a_camera(walking)[:50]
    parameters = LiftParameters(causal=True, height=1.8, pitch_deg=8.0)
    (motion,) = lift_people(flat_lifter(), [track_of(joints)], parameters)
    np.testing.assert_allclose(motion.pose_3d, push_all(seen(joints), height=1.8, pitch_deg=8.0), atol=1e-5)
