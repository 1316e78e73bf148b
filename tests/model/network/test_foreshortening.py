"""What the geometry must keep, whatever has been learned: place, size, sides, and what was not seen."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from data_contracts.parameters import HeadKind, NetworkConfig
from data_contracts.skeleton import BONES, MIRROR
from model.lifting.lifter import Lifter
from model.network.foreshortening import Foreshortening, _latest
from model.network.network import PoseNetwork
from model.poses import mirror, root_relative
from model.training.loop import build_network

CONFIG = NetworkConfig(
    embed_dim=16, heads=2, fusion_depth=1, max_frames=9, patch=3, stem="window", stem_width=32, cosines=4,
    geometry="foreshortening",
)  # fmt: skip


def learned(config=CONFIG, head=HeadKind.POSE):
    """A network none of whose weights stands at a special value."""
    network = build_network(lambda: PoseNetwork(config, head), seed=0).eval()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return network


@pytest.fixture
def geometry():
    geometry = Foreshortening()
    with torch.no_grad():
        geometry.lengths += 0.3 * torch.rand(16, generator=torch.Generator().manual_seed(3))
    return geometry


@pytest.fixture
def pose_3d(walking):
    """(2, 9, 17, 3) in metres: x right, y down, z forward."""
    frames = torch.from_numpy(walking[:18])
    return torch.stack((frames[..., 0], -frames[..., 2], frames[..., 1]), dim=-1).view(2, 9, 17, 3)


@pytest.fixture
def pose_2d(pose_3d):
    """As an orthographic camera sees it."""
    return torch.cat((pose_3d[..., :2], torch.ones(2, 9, 17, 1)), dim=-1)


@given(st.floats(0.2, 5.0), st.floats(-3.0, 3.0), st.floats(-3.0, 3.0), st.booleans())
def test_a_pose_moved_in_the_image_is_the_same_pose_and_scaled_it_is_scaled(scale, x, y, hidden):
    network, pose_2d = learned(), some_windows()
    if hidden:
        pose_2d[:, 2:5, 6] = 0.0
        pose_2d[:, :, 13] = 0.0
    moved = pose_2d * torch.tensor([scale, scale, 1.0]) + torch.tensor([x, y, 0.0]) * pose_2d[..., 2:]
    with torch.no_grad():
        torch.testing.assert_close(
            Lifter(network, 9, flip=False)(moved), scale * Lifter(network, 9, flip=False)(pose_2d), rtol=1e-3, atol=1e-3
        )


def some_windows(count=3):
    pose_2d = torch.randn(count, 9, 17, 3, generator=torch.Generator().manual_seed(1))
    pose_2d[..., 2] = 1.0
    return pose_2d


def test_left_and_right_are_seen_alike(geometry, pose_2d):
    view, mirrored = geometry(pose_2d), geometry(mirror(pose_2d))
    bones = [MIRROR[joint] - 1 for _, joint in BONES]
    torch.testing.assert_close(mirrored.size, view.size)
    torch.testing.assert_close(mirrored.reach, view.reach[..., bones], rtol=0, atol=1e-5)
    torch.testing.assert_close(mirrored.inputs, mirror(view.inputs))


def test_mirrored_input_gives_mirrored_output_with_flip_averaging(pose_2d):
    network = learned()
    with torch.no_grad():
        lifter = Lifter(network, 9)
        torch.testing.assert_close(lifter(mirror(pose_2d)), mirror(lifter(pose_2d)))


@pytest.mark.parametrize("head", [HeadKind.POSE, HeadKind.JOINTS])
def test_a_new_network_answers_with_the_flat_pose_of_the_image(pose_2d, head):
    network = build_network(lambda: PoseNetwork(CONFIG, head), seed=0)
    with torch.no_grad():
        lifted = network(pose_2d)
    torch.testing.assert_close(lifted[..., :2], root_relative(pose_2d)[..., :2])
    assert not lifted[..., 2].any()


def test_bones_of_known_length_reach_as_deep_as_they_do(pose_3d):
    """A rigid body whose bones all lie in the image plane once: then their lengths, and so their reach, are known."""
    frame = pose_3d[0, 0] - pose_3d[0, 0, :1]
    flat = torch.zeros(17, 3)
    for parent, joint in BONES:
        flat[joint] = flat[parent] + torch.tensor([(frame[joint] - frame[parent]).norm(), 0.0, 0.0])
    motion = torch.stack((flat, frame, frame))
    geometry = Foreshortening()
    with torch.no_grad():
        geometry.lengths.zero_()
    view = geometry(torch.cat((motion[None, ..., :2], torch.ones(1, 3, 17, 1)), dim=-1))
    parents, joints = (list(ends) for ends in zip(*BONES, strict=True))
    depth = motion[:, joints, 2] - motion[:, parents, 2]
    torch.testing.assert_close((view.reach * view.size[..., 0])[0], depth.abs(), rtol=0, atol=5e-3)
    out = torch.cat((torch.zeros(1, 3, 17, 3), torch.nn.functional.pad(depth.sign(), (1, 0))[None, ..., None]), dim=-1)
    torch.testing.assert_close(geometry.pose(out, view)[0], motion, rtol=0, atol=2e-2)


def test_what_was_not_seen_measures_nothing_and_stands_between_where_it_was(geometry, pose_2d):
    whole, hidden = geometry(pose_2d), pose_2d.clone()
    hidden[:, 3:6, 6] = torch.tensor([7.0, -9.0, 0.0])
    view = geometry(hidden)
    torch.testing.assert_close(view.size, whole.size, rtol=0.02, atol=0)
    between = torch.lerp(pose_2d[:, 2, 6, :2], pose_2d[:, 6, 6, :2], 0.5) - pose_2d[:, 4, 0, :2]
    torch.testing.assert_close(view.flat[:, 4, 6], between)
    torch.testing.assert_close(
        view.reach[:, :, 6:], whole.reach[:, :, 6:], rtol=0.05, atol=0.01
    )  # the trunk's, the arms'
    assert not view.inputs[:, 3:6, 6, 2].any()
    hidden[:, :, 6, 2] = 0.0
    never = geometry(hidden)
    torch.testing.assert_close(never.size, whole.size, rtol=0.1, atol=0)
    seen = [joint for joint in range(17) if joint != 6]
    torch.testing.assert_close(never.flat[:, :, 6], never.flat[:, :, seen].mean(dim=2))


@pytest.mark.parametrize("degenerate", ["one point", "all missing", "one joint", "one frame"])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_degenerate_windows_give_finite_float32_poses_and_gradients(degenerate, precision):
    pose_2d = some_windows()
    if degenerate == "one frame":
        pose_2d = pose_2d[:, :1]
    elif degenerate == "one point":
        pose_2d[..., :2] = 0.3
    else:
        pose_2d[:, :, 1:, 2] = 0.0
        pose_2d[:, :, 0, 2] = float(degenerate == "one joint")
    network = learned()
    pose_2d.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=precision is torch.bfloat16):
        lifted = network(pose_2d)
    assert lifted.dtype == torch.float32
    assert lifted.isfinite().all()
    lifted.square().sum().backward()
    assert pose_2d.grad.isfinite().all()
    assert all(weight.grad.isfinite().all() for weight in network.parameters())


@pytest.mark.parametrize("frames", [1, 2, 5, 27])
def test_the_latest_frame_is_found_by_doubling_as_by_cummax(frames, monkeypatch):
    numbers = torch.randint(-frames, frames, (3, frames, 17), generator=torch.Generator().manual_seed(frames))
    expected = _latest(numbers)
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
    assert torch.equal(_latest(numbers), expected)
