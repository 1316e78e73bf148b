"""Augment training windows at every step: limb motion of other windows, turned bones, body proportions, lean, camera.

- A stored window is metric, so any other camera can project it, as `tasks.convert.cameras` does.
- Poses have the shape (B, 3, T, 17). A rotation or a chain of bones is then one matrix product, and a bounding box is
  found in contiguous memory. This is 2-4 times as fast on a CPU.
- No function waits for the device.
"""

import math
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from data_contracts.parameters import AugmentationParameters, NewBodies, NewCameras
from data_contracts.skeleton import BONES, NUM_JOINTS
from model.data.batches import Batch
from model.poses import bone_chains, box

NEAREST_JOINT_M = 0.1  # smallest depth that is divided by, so that perspective projections stay finite
_LEGS, _ARMS = ((1, 3), (4, 6)), ((11, 13), (14, 16))  # bones [first, end), right and left
_HIPS, _TRUNK, _SHOULDERS = (0, 3), (6, 7), (13, 10)  # bones: right, left; lower, upper; right, left


@dataclass(frozen=True)
class Cameras:
    """One camera per window: a point p (z up, relative to the window's mean pelvis) is at `rotation @ p + centre`.

    rotation (B, 3, 3): rows are the camera's x (right), y (down), z (forward) axes; centre (B, 3): the window's mean
    pelvis in these axes, metres; perspective (B,) bool, else orthographic.
    """

    rotation: Tensor
    centre: Tensor
    perspective: Tensor


def augment(windows: Batch, parameters: AugmentationParameters, generator: torch.Generator) -> Batch:
    """Return augmented copies of all windows of a step; confidence and padding do not change.

    `windows` are not modified; `generator` is on their device. Windows without cameras raise a ValueError.
    """
    stored = stored_cameras(windows)
    assert windows.root_3d is not None
    metres = windows.pose_3d / windows.scale.view(-1, 1, 1, 1)
    joints = augmented_joints(metres.permute(0, 3, 1, 2).contiguous(), parameters, generator)
    pelvis = (windows.root_3d - stored.centre[:, None]).transpose(1, 2)
    level = stored.rotation.transpose(1, 2)
    varied = round(parameters.varied_share * len(joints))  # the first windows, because the order is random
    if varied and parameters.tilt_deg:
        leaning = torch.bmm(leans(level[:varied], parameters.tilt_deg, generator), level[:varied])
        level = torch.cat((leaning, level[varied:]))
    joints, pelvis = torch.bmm(level, joints.flatten(2)).view_as(joints), torch.bmm(level, pelvis)
    cameras = draw_cameras(pelvis, stored.perspective, parameters.cameras, generator) if parameters.cameras else stored
    return project(joints, pelvis, cameras, windows)


def stored_cameras(windows: Batch) -> Cameras:
    """Return the cameras of the stored windows; windows without cameras raise a ValueError."""
    if windows.root_3d is None or windows.pitch_deg is None or windows.roll_deg is None or windows.perspective is None:
        raise ValueError("windows have no cameras: load the windows with placed=True to augment them")
    pitch, roll = windows.pitch_deg.deg2rad(), windows.roll_deg.deg2rad()
    rotation = rotation_matrix(torch.zeros_like(pitch), pitch, roll)
    return Cameras(rotation, windows.root_3d.mean(dim=1), windows.perspective)


def draw_cameras(pelvis: Tensor, perspective: Tensor, parameters: NewCameras, generator: torch.Generator) -> Cameras:
    """Draw a new camera for each window.

    `pelvis` (B, 3, T): path of the pelvis, z up, relative to the mean of the path, metres. `perspective` (B,) bool:
    whether the stored window is in perspective; the new camera keeps this projection unless
    `parameters.perspective_share` is set.
    """
    count = len(pelvis)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return torch.rand(count, *shape, generator=generator, device=pelvis.device) * (high - low) + low

    pitch, roll = (uniform(-1, 1) * math.radians(most) for most in (parameters.max_pitch_deg, parameters.max_roll_deg))
    rotation = rotation_matrix(uniform(0, 2 * math.pi), pitch, roll)
    aside = (uniform(-1, 1, 2) * math.radians(parameters.max_off_axis_deg)).tan()
    nearest = torch.bmm(rotation[:, 2:], pelvis).amin(dim=(1, 2))  # most negative: towards the camera
    distance = uniform(parameters.nearest_m, parameters.farthest_m) - nearest
    centre = distance[:, None] * torch.cat((aside, torch.ones_like(distance)[:, None]), dim=1)
    if parameters.perspective_share is not None:
        perspective = uniform(0, 1) < parameters.perspective_share
    return Cameras(rotation, centre, perspective)


def project(joints: Tensor, pelvis: Tensor, cameras: Cameras, windows: Batch) -> Batch:
    """Project poses with z up into `cameras`, in normalised units; confidence and padding are those of `windows`.

    `joints` (B, 3, T, 17): metres relative to the pelvis of each frame. `pelvis` (B, 3, T): metres relative to the mean
    pelvis of the window.
    """
    seen = torch.bmm(cameras.rotation, joints.flatten(2)).view_as(joints)
    root = torch.baddbmm(cameras.centre[:, :, None], cameras.rotation, pelvis)  # (B, 3, T)
    in_perspective = cameras.perspective.view(-1, 1, 1)
    depth = (seen[:, 2] + root[:, 2, :, None]).clamp_min(NEAREST_JOINT_M)  # (B, T, 17)
    image = (seen[:, :2] + root[:, :2, :, None]) / torch.where(in_perspective, depth, 1.0)[:, None]
    image = image.permute(0, 2, 3, 1)
    centre, half = box(image)
    scale = 1 / (half.flatten() * torch.where(cameras.perspective, root[:, 2].mean(dim=1), 1.0))
    pose_2d = torch.cat(((image - centre) / half, windows.pose_2d[..., 2:]), dim=-1)
    pose_3d = (seen * scale.view(-1, 1, 1, 1)).permute(0, 2, 3, 1).contiguous()
    return Batch(pose_2d, pose_3d, windows.frame_weight, scale)


def rotation_matrix(yaw: Tensor, pitch: Tensor, roll: Tensor) -> Tensor:
    """Return the rotations (B, 3, 3) that `tasks.convert.cameras.rotation_matrix` defines; angles (B,) in radians."""
    cy, sy, cp, sp, zero = yaw.cos(), yaw.sin(), pitch.cos(), pitch.sin(), torch.zeros_like(yaw)
    right, down = torch.stack((sy, -cy, zero), dim=1), torch.stack((-cy * sp, -sy * sp, -cp), dim=1)
    forward = torch.stack((cy * cp, sy * cp, -sp), dim=1)
    cr, sr = roll.cos()[:, None], roll.sin()[:, None]
    return torch.stack((right * cr + down * sr, down * cr - right * sr, forward), dim=1)


def leans(like: Tensor, degrees: float, generator: torch.Generator) -> Tensor:
    """Draw rotations (B, 3, 3) about horizontal axes, one per element of `like`, on its device.

    The angles about x and y are normal with standard deviation `degrees`.
    """
    vector = torch.randn(len(like), 2, generator=generator, device=like.device) * math.radians(degrees)
    angle = _length(vector).clamp_min(1e-6)
    (x, y), (cos, sin) = (vector / angle).unbind(1), (angle[:, 0].cos(), angle[:, 0].sin())
    rest = 1 - cos
    rows = (cos + x * x * rest, x * y * rest, y * sin, x * y * rest, cos + y * y * rest, -x * sin)
    return torch.stack((*rows, -y * sin, x * sin, cos), dim=1).view(-1, 3, 3)


def augmented_joints(joints: Tensor, parameters: AugmentationParameters, generator: torch.Generator) -> Tensor:
    """Swap limbs, turn bones and change lengths of `joints` (B, 3, T, 17): metres relative to the pelvis, any axes."""
    if not (parameters.limbs_share or parameters.bone_turn_deg or parameters.bodies):
        return joints
    to_bones, from_bones = _chains(joints.device)
    bones = joints @ to_bones  # (B, 3, T, 16), from parent to child
    varied = round(parameters.varied_share * len(joints))
    if varied and (parameters.limbs_share or parameters.bone_turn_deg):
        some = bones[:varied]
        if parameters.limbs_share:
            some = swap_limbs(some, parameters.limbs_share, generator)
        if parameters.bone_turn_deg:
            some = turn_bones(some, parameters.bone_turn_deg, generator)
        bones = torch.cat((some, bones[varied:]))
    if parameters.bodies:
        bones = new_bodies(bones, parameters.bodies, generator)
    return bones @ from_bones


def new_bodies(bones: Tensor, parameters: NewBodies, generator: torch.Generator) -> Tensor:
    """Scale bones (B, 3, T, 16) by random factors, one per window and bone, equal for left and right."""
    factor = torch.rand(len(bones), 1, 1, 10, generator=generator, device=bones.device)
    leg, trunk, arm = (parameters.shortest + (parameters.longest - parameters.shortest) * factor).split((3, 4, 3), -1)
    return bones * torch.cat((leg, leg, trunk, arm, arm), dim=-1)


def turn_bones(bones: Tensor, degrees: float, generator: torch.Generator) -> Tensor:
    """Turn bones (B, 3, T, 16) by random rotations, one per window and bone; hip bones do not turn.

    The rotation about each axis has the standard deviation `degrees`. The pelvis is the midpoint of the hips, so it
    would move if a hip bone turned. Child bones keep their direction.
    """
    vector = torch.randn(len(bones), 3, 1, len(BONES), generator=generator, device=bones.device) * math.radians(degrees)
    for hip in _HIPS:
        vector[..., hip] = 0
    angle = _length(vector).clamp_min(1e-6)
    axis = (vector / angle).expand_as(bones)
    along = (axis * bones).sum(dim=1, keepdim=True) * axis
    return along + (bones - along) * angle.cos() + torch.linalg.cross(axis, bones, dim=1) * angle.sin()


def swap_limbs(bones: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Replace limb directions of bones (B, 3, T, 16): arms in a random `share` of windows, legs in another share.

    A limb keeps its length and takes its direction from another window. Directions are relative to the trunk and to
    the line of the hips (legs) or of the shoulders (arms).
    """
    count = len(bones)
    other = torch.rand(count, generator=generator, device=bones.device).argsort()
    trunk = bones[..., _TRUNK[0]] + bones[..., _TRUNK[1]]
    bones = bones.clone()
    for limbs, (right, left) in ((_LEGS, _HIPS), (_ARMS, _SHOULDERS)):
        chosen = torch.rand(count, 1, 1, 1, generator=generator, device=bones.device) < share
        axes = _body_axes(bones[..., right] - bones[..., left], trunk)
        own = torch.cat([bones[..., first:end] for first, end in limbs], dim=-1)  # (B, 3, T, 4)
        local = (axes.unsqueeze(-1) * own.unsqueeze(1)).sum(dim=2).index_select(0, other)
        foreign = (axes.unsqueeze(-1) * local.unsqueeze(2)).sum(dim=1)
        long = _length(foreign)
        taken = torch.where(chosen & (long > 1e-3), foreign * (_length(own) / long), own)
        for (first, end), limb in zip(limbs, taken.chunk(2, dim=-1), strict=True):
            bones[..., first:end] = limb
    return bones


def _body_axes(right: Tensor, up: Tensor) -> Tensor:
    """Return the axes right, forward, up (B, axis, coordinate, T) of bodies from vectors `right`, `up` (B, 3, T)."""
    x = right / _length(right).clamp_min(1e-6)
    upright = up - (up * x).sum(dim=1, keepdim=True) * x
    z = upright / _length(upright).clamp_min(1e-6)
    return torch.stack((x, torch.linalg.cross(z, x, dim=1), z), dim=1)


def _length(vectors: Tensor) -> Tensor:
    """Return lengths (B, 1, ...) of (B, 3, ...). On a CPU `vector_norm` is many times slower for three numbers."""
    return (vectors * vectors).sum(dim=1, keepdim=True).sqrt()


@cache
def _chains(device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the matrices from joints to bones (17, 16) and from bones to joints (16, 17), cached per device."""
    to_bones = torch.zeros(NUM_JOINTS, len(BONES))
    for bone, (parent, child) in enumerate(BONES):
        to_bones[parent, bone], to_bones[child, bone] = -1, 1
    return to_bones.to(device), bone_chains().to(device)
