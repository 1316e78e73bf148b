"""Augmented training windows, from synthetic motion stored in both projections."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import normalize

from data_contracts.parameters import AugmentationParameters, ConvertParameters, NewBodies, NewCameras, Projection
from data_contracts.skeleton import BONES, MIRROR
from model.data.augmentation import (
    augment,
    augmented_joints,
    draw_cameras,
    leans,
    project,
    rotation_matrix,
    stored_cameras,
    swap_limbs,
    turn_bones,
)
from model.data.batches import Batch
from tasks.convert import cameras as stored
from tasks.convert.cameras import draw_camera
from tests.projection import project_windows

CAMERAS = AugmentationParameters(cameras=NewCameras(perspective_share=0.5))
EVERYTHING = AugmentationParameters(
    limbs_share=0.5,
    bone_turn_deg=8,
    bodies=NewBodies(),
    tilt_deg=10,
    cameras=NewCameras(perspective_share=0.5, max_pitch_deg=30),
)
projections = pytest.mark.parametrize("projection", list(Projection))
seeds = st.integers(0, 2**31)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def placed(poses: np.ndarray, camera: stored.Camera, starts: np.ndarray, window: int) -> Batch:
    """Windows of a clip as convert stores them and the learner reads them."""
    arrays = {name: torch.from_numpy(array) for name, array in project_windows(poses, starts, window, camera).items()}
    scale, pose_2d = arrays["scale"], arrays["pose_2d"]
    return Batch(
        pose_2d,
        arrays["pose_3d"] * scale.view(-1, 1, 1, 1),
        (pose_2d[..., 2] > 0).any(-1).float(),
        scale,
        root_3d=arrays["root_3d"],
        pitch_deg=arrays["pitch_deg"].float(),
        roll_deg=arrays["roll_deg"].float(),
        perspective=torch.full_like(scale, camera.projection is Projection.PERSPECTIVE, dtype=torch.bool),
    )


@pytest.fixture(scope="session")
def batch(walking) -> Batch:
    """Windows of both projections; the last ones padded."""
    starts = np.arange(0, len(walking), 10)
    cameras = [
        draw_camera(walking, 0, view, ConvertParameters(max_pitch_deg=25, projection=projection))
        for view, projection in enumerate(Projection)
    ]
    return Batch.join([placed(walking, camera, starts, 27) for camera in cameras])


def metres(windows: Batch) -> Tensor:
    return windows.pose_3d / windows.scale.view(-1, 1, 1, 1)


def bones_of(joints: Tensor) -> Tensor:
    """(..., 16, 3) of joints (..., 17, 3)."""
    parents, children = zip(*BONES, strict=True)
    return joints[..., list(children), :] - joints[..., list(parents), :]


def assert_same(windows: Batch, others: Batch, atol: float) -> None:
    for name in ("pose_2d", "pose_3d", "frame_weight", "scale"):
        torch.testing.assert_close(getattr(windows, name), getattr(others, name), atol=atol, rtol=atol)


@pytest.mark.parametrize("is_mirrored", [False, True])
def test_a_window_turned_level_and_seen_by_its_own_camera_is_the_stored_one(batch, is_mirrored):
    windows = batch.select(torch.arange(len(batch)))
    windows.mirror_((torch.arange(len(batch)) % 2 == 0) & is_mirrored)
    assert_same(augment(windows, AugmentationParameters(), generator()), windows, atol=1e-4)


@projections
@settings(max_examples=20)
@given(seed=seeds, window=st.integers(1, 40))
def test_a_new_camera_sees_what_convert_would_have_stored(walking, projection, seed, window):
    """Stored by one camera, seen by the other, is what the other would have stored: through the room and back."""
    start = np.array([seed % 150])
    one = draw_camera(walking, 0, 0, ConvertParameters(seed=seed, max_pitch_deg=30))
    other = draw_camera(walking, 0, 1, ConvertParameters(seed=seed, max_pitch_deg=30, projection=projection))
    windows, wanted = (placed(walking, camera, start, window) for camera in (one, other))
    yaw, other_yaw = (
        torch.from_numpy(project_windows(walking, start, window, camera)["yaw_deg"]).float().deg2rad()
        for camera in (one, other)
    )
    level = rotation_matrix(yaw, windows.pitch_deg.deg2rad(), windows.roll_deg.deg2rad()).mT
    joints = metres(windows).permute(0, 3, 1, 2).contiguous()
    root = windows.root_3d - windows.root_3d.mean(dim=1, keepdim=True)
    camera = stored_cameras(wanted)
    rotation = rotation_matrix(other_yaw, wanted.pitch_deg.deg2rad(), wanted.roll_deg.deg2rad())
    camera = type(camera)(rotation, camera.centre, camera.perspective)
    seen = project((level @ joints.flatten(2)).view_as(joints), level @ root.mT, camera, windows)
    assert_same(seen, wanted, atol=1e-4)


@settings(max_examples=20)
@given(seed=seeds)
def test_new_cameras_keep_every_distance_between_joints(batch, seed):
    seen = augment(batch, CAMERAS, generator(seed))
    before, after = (
        (joints.unsqueeze(-2) - joints.unsqueeze(-3)).norm(dim=-1) for joints in (metres(batch), metres(seen))
    )
    torch.testing.assert_close(after, before, atol=1e-5, rtol=0)
    assert (seen.pose_3d - batch.pose_3d).abs().mean() > 0.01


def test_new_cameras_look_from_all_around_and_pitch_as_far_as_they_may():
    parameters = NewCameras(max_pitch_deg=20, perspective_share=0.3, nearest_m=4, farthest_m=5, max_off_axis_deg=8)
    pelvis = torch.randn(4000, 3, 9, generator=generator(1))
    drawn = draw_cameras(pelvis, torch.zeros(4000, dtype=torch.bool), parameters, generator())
    forward = drawn.rotation[:, 2]
    pitch = torch.asin(-forward[:, 2]).rad2deg()
    assert pitch.abs().max() <= 20.001
    assert pitch.std() == pytest.approx(20 / math.sqrt(3), rel=0.05)
    assert torch.histc(torch.atan2(forward[:, 1], forward[:, 0]), 8).min() > 400
    assert drawn.perspective.float().mean() == pytest.approx(0.3, abs=0.03)
    depth = (drawn.rotation @ pelvis)[:, 2] + drawn.centre[:, 2:]
    assert depth.amin(dim=1).min() > 3.999
    assert depth.amin(dim=1).max() < 5.001
    beside = torch.atan2(drawn.centre[:, :2], drawn.centre[:, 2:]).rad2deg()
    assert 7.9 < beside.abs().max() <= 8.001
    as_stored = torch.arange(4000) % 2 == 0
    assert torch.equal(draw_cameras(pelvis, as_stored, NewCameras(), generator()).perspective, as_stored)


@settings(max_examples=20)
@given(seed=seeds)
def test_a_new_window_keeps_the_contract(batch, seed):
    seen = augment(batch, EVERYTHING, generator(seed))
    extent = seen.pose_2d[..., :2].abs().amax(dim=(1, 2, 3))
    torch.testing.assert_close(extent, torch.ones_like(extent))
    assert (seen.pose_3d[:, :, 0] == 0).all()
    assert (seen.scale > 0).all()
    for name in ("pose_2d", "pose_3d", "scale"):
        assert getattr(seen, name).isfinite().all(), name
    assert torch.equal(seen.pose_2d[..., 2], batch.pose_2d[..., 2])
    assert torch.equal(seen.frame_weight, batch.frame_weight)
    assert 0 < (batch.frame_weight == 0).sum() < batch.frame_weight.numel()  # some are padded
    assert seen.pose_3d.is_contiguous()


def test_the_scale_turns_an_error_into_the_millimetres_it_was(batch):
    """Orthographic: x and y of the image are those of the pose; perspective: those at the pelvis' depth."""
    seen = augment(batch, AugmentationParameters(cameras=NewCameras(perspective_share=0)), generator())
    xy = seen.pose_2d[..., :2] - seen.pose_2d[:, :, :1, :2]
    torch.testing.assert_close(xy, seen.pose_3d[..., :2], atol=1e-5, rtol=0)
    torch.testing.assert_close(metres(seen)[..., 3, :].norm(dim=-1), metres(batch)[..., 3, :].norm(dim=-1))


def test_the_windows_given_stay_as_they_were(batch):
    before = batch.select(torch.arange(len(batch)))
    augment(batch, EVERYTHING, generator())
    for name, tensor in vars(batch).items():
        assert torch.equal(tensor, getattr(before, name)), name


def test_windows_without_their_places_are_refused(batch):
    bare = Batch(batch.pose_2d, batch.pose_3d, batch.frame_weight, batch.scale)
    with pytest.raises(ValueError, match="placed=True"):
        augment(bare, CAMERAS, generator())


def test_the_same_generator_state_gives_the_same_windows(batch):
    first, second, other = (augment(batch, EVERYTHING, generator(seed)) for seed in (7, 7, 8))
    for name in ("pose_2d", "pose_3d", "scale"):
        assert torch.equal(getattr(first, name), getattr(second, name))
        assert not torch.equal(getattr(first, name), getattr(other, name))


def test_every_window_of_a_step_draws_its_own(batch):
    same = batch.select(torch.zeros(8, dtype=torch.long))
    seen = augment(same, EVERYTHING, generator())
    assert len({window.numpy().tobytes() for window in seen.pose_2d}) == 8


# Bodies: augmented_joints on (B, 3, T, 17) in any axes.


def people(batch: Batch) -> Tensor:
    return metres(batch).permute(0, 3, 1, 2).contiguous()


def as_joints(planes: Tensor) -> Tensor:
    return planes.permute(0, 2, 3, 1)


@settings(max_examples=20)
@given(seed=seeds, shortest=st.floats(0.5, 1), longest=st.floats(1, 1.5))
def test_new_bodies_keep_directions_and_the_likeness_of_left_and_right(batch, seed, shortest, longest):
    parameters = AugmentationParameters(bodies=NewBodies(shortest=shortest, longest=longest))
    made = as_joints(augmented_joints(people(batch), parameters, generator(seed)))
    before, after = bones_of(metres(batch)), bones_of(made)
    torch.testing.assert_close(normalize(after, dim=-1), normalize(before, dim=-1), atol=1e-4, rtol=0)
    factor = after.norm(dim=-1) / before.norm(dim=-1)  # (B, T, 16)
    torch.testing.assert_close(factor, factor[:, :1].expand_as(factor), atol=1e-4, rtol=0)  # in all frames
    mirrored = [MIRROR[child] - 1 for _, child in BONES]
    torch.testing.assert_close(factor, factor[..., mirrored], atol=1e-4, rtol=0)
    assert factor.min() >= shortest - 1e-4
    assert factor.max() <= longest + 1e-4
    assert (made[..., 0, :] == 0).all()


def test_new_bodies_differ_from_window_to_window_and_fill_their_range(batch):
    many = batch.select(torch.zeros(500, dtype=torch.long))
    made = as_joints(augmented_joints(people(many), AugmentationParameters(bodies=NewBodies()), generator()))
    factor = (bones_of(made).norm(dim=-1) / bones_of(metres(many)).norm(dim=-1))[:, 0]
    assert factor.std(dim=0).min() == pytest.approx(0.3 / math.sqrt(12), rel=0.15)
    assert factor.mean() == pytest.approx(1, abs=0.01)


@settings(max_examples=20)
@given(seed=seeds)
def test_turned_bones_keep_their_length_and_the_pelvis_lies_between_the_hips(batch, seed):
    made = as_joints(augmented_joints(people(batch), AugmentationParameters(bone_turn_deg=20), generator(seed)))
    torch.testing.assert_close(bones_of(made).norm(dim=-1), bones_of(metres(batch)).norm(dim=-1))
    torch.testing.assert_close(made[..., [1, 4], :], metres(batch)[..., [1, 4], :], atol=1e-5, rtol=0)


def test_bones_turn_as_far_as_asked_and_the_same_in_all_frames():
    still = torch.randn(3000, 3, 1, 16, generator=generator()).expand(-1, -1, 5, -1).contiguous()
    turned = turn_bones(still, 5.0, generator(1))
    torch.testing.assert_close(turned, turned[:, :, :1].expand_as(turned))
    angle = torch.acos(torch.cosine_similarity(still, turned, dim=1).clamp(-1, 1))[..., 1].rad2deg()
    assert angle.square().mean().sqrt() == pytest.approx(5 * math.sqrt(2), rel=0.05)  # two axes across the bone


@settings(max_examples=20)
@given(seed=seeds)
def test_swapped_limbs_keep_the_trunk_and_all_lengths(batch, seed):
    made = as_joints(augmented_joints(people(batch), AugmentationParameters(limbs_share=1), generator(seed)))
    torch.testing.assert_close(bones_of(made).norm(dim=-1), bones_of(metres(batch)).norm(dim=-1), atol=1e-4, rtol=0)
    trunk = [0, 1, 4, 7, 8, 9, 10, 11, 14]
    torch.testing.assert_close(made[..., trunk, :], metres(batch)[..., trunk, :], atol=1e-5, rtol=0)


def test_swapped_limbs_are_those_of_another_window_however_it_stands(batch):
    """Of two windows, one the other turned in the room: with limbs exchanged, each is what it was."""
    joints = people(batch)[:1]
    turn = rotation_matrix(*torch.tensor([[2.0], [0.7], [0.3]]))
    both = torch.cat((joints, (turn @ joints.flatten(2)).view_as(joints)))
    bones = both[..., 1:] - both[..., [parent for parent, _ in BONES]]
    for seed in range(4):
        torch.testing.assert_close(swap_limbs(bones, 1.0, generator(seed)), bones, atol=1e-4, rtol=0)


def test_limbs_are_swapped_in_their_share(batch):
    many = people(batch.select(torch.arange(2000) % len(batch)))
    made = augmented_joints(many, AugmentationParameters(limbs_share=0.3), generator())
    moved = (made - many).abs().amax(dim=(1, 2)) > 1e-3
    assert moved[:, [2, 3, 5, 6]].any(dim=1).float().mean() == pytest.approx(0.3, abs=0.05)
    assert moved[:, [12, 13, 15, 16]].any(dim=1).float().mean() == pytest.approx(0.3, abs=0.05)


def test_poses_are_varied_in_their_share_and_all_windows_seen_anew(batch):
    shares = {"limbs_share": 1, "bone_turn_deg": 5, "tilt_deg": 10}
    some = AugmentationParameters(varied_share=0.25, **shares)
    made = augment(batch, some, generator())
    moved = (made.pose_2d - batch.pose_2d).abs().amax(dim=(1, 2, 3)) > 1e-3
    assert moved.sum() == len(batch) // 4
    assert not AugmentationParameters(varied_share=0, **shares).wanted
    seen = augment(batch, some.model_copy(update={"cameras": NewCameras()}), generator())
    assert ((seen.pose_2d - batch.pose_2d).abs().amax(dim=(1, 2, 3)) > 1e-3).all()


def test_a_body_without_extent_stays_finite():
    nothing = torch.zeros(4, 3, 5, 17)
    assert augmented_joints(nothing, EVERYTHING, generator()).isfinite().all()


def test_leans_are_rotations_about_level_axes_of_the_size_asked_for():
    turns = leans(torch.zeros(4000, 3, 3), 10.0, generator())
    torch.testing.assert_close(turns @ turns.mT, torch.eye(3).expand_as(turns), atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.linalg.det(turns), torch.ones(4000), atol=1e-5, rtol=0)
    assert (turns[:, 1, 0] - turns[:, 0, 1]).abs().max() < 1e-6  # none about the vertical
    angle = torch.acos(((turns.diagonal(dim1=1, dim2=2).sum(-1) - 1) / 2).clamp(-1, 1)).rad2deg()
    assert angle.square().mean().sqrt() == pytest.approx(10 * math.sqrt(2), rel=0.05)
