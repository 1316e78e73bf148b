"""Sum of squares that `video_fit` minimises; each residual is first divided by its standard deviation."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from data_contracts.skeleton import BONES, JOINTS
from model.lifting.contact import ANKLES, contacts_of
from model.lifting.gravity import to_world, up_axis
from model.lifting.skeleton_fit import ANKLE_SHARE, SIDES, STRETCHED, Body, adult_bones, are_measured, stature_of
from model.poses import bone_chains

_PITCH_STD_DEG, _ROLL_STD_DEG = 6.0, 1.5  # of phones and cameras
_FLOOR_STD_M = 0.02  # of the height of an ankle in contact
IMAGE_M = 0.028  # error of a keypoint, metres at the distance of the body
DIRECTION_M = (0.05, 0.05, 0.06)  # error of a bone's end relative to its beginning, camera axes
LENGTH_M = 0.008  # deviation of a bone's length in one frame
CONTACT_M = 0.015  # deviation of an ankle in contact from its mean position
_ACCELERATION_M_S2 = 7.0
_CORRELATED_S = 0.5  # errors within this time are correlated and count as one observation
_MEASURED_STD, _ADULT_STD = 0.03, 0.15  # of log(length / mean length of the lifted poses), log(length / an adult's)
_LEAN_STD = (0.02, 0.04)  # metres of depth per metre to the right, and per metre down
_UNEVEN_M = 0.1  # larger than the usual errors of ankle heights
_BELOW_M, _CLEARANCE_M = 0.02, 0.03  # tolerance; least height of a joint, which is inside a limb
_BALANCE_M = 0.10  # horizontal distance between the centre of mass and its place over the feet
_AHEAD_M = 0.045  # distance of that place in front of the ankles: the middle of the feet
_BALANCE_S, _MOST_BALANCE = 3.0, 4.0  # seconds that count as one observation, largest number of observations
_STRAIGHT = 0.95  # distance from hip to ankle / length of the leg: knees bent by less than 37 degrees
_ROBUST = 8.0  # a squared residual above this is an outlier and counts less
_NEAREST_M = 0.2
_LOWEST_SHARE = 0.02  # of all joints; the lowest joints touch the floor if no foot is in contact
_HEAD, _LEGS = JOINTS.index("head"), ([4, 1], list(ANKLES))  # hips, ankles
_PARENTS, _CHILDREN = (torch.tensor(ends) for ends in zip(*BONES, strict=True))
# Shares of the body mass at the joints, after Winter, Biomechanics, table 4.1.
_MASS = torch.tensor([0.15, *(0.05, 0.075, 0.037) * 2, 0.2, 0.15, 0, 0.076, *(0.014, 0.025, 0.011) * 2]).double()


class Unknowns(NamedTuple):
    """Unknowns that all frames of a video share, for K people.

    `pitch` and `roll` are in radians, `floor` in metres above `Terms.centre`. `lengths` (K, 16) are changes of the
    logarithm of bone lengths. `lean` (K, 2) is a constant error of the poses: metres of depth per metre to the right,
    and per metre down.
    """

    pitch: Tensor
    roll: Tensor
    floor: Tensor
    lengths: Tensor
    lean: Tensor


class Part(NamedTuple):
    """Consecutive frames of the body with index `body`."""

    body: int
    frames: slice


class Terms:
    """All terms of the sum for `parts` of `bodies`. The frames of the parts are concatenated to n frames.

    Parameters
    ----------
    pitch_deg
        Initial pitch of the camera; final if `pitch_is_known`.
    known_bones
        Bone lengths from the user in metres, by index into `BONES`.
    contact
        Whether to look for contacts of feet with the floor; false for a moving camera.
    """

    def __init__(
        self,
        bodies: Sequence[Body],
        parts: Sequence[Part],
        fps: float,
        pitch_deg: float,
        pitch_is_known: bool,
        known_bones: Mapping[int, float],
        contact: bool,
    ) -> None:
        self.parts, self.correlated = parts, max(_CORRELATED_S * fps, 1.0)
        self.fps, self.pitch_is_known = fps, pitch_is_known
        counts = [part.frames.stop - part.frames.start for part in parts]
        self.of_body = torch.cat([torch.full((n,), part.body) for n, part in zip(counts, parts, strict=True)])
        self.rays, self.confidence, self.root, pose = (
            torch.from_numpy(np.concatenate([getattr(bodies[part.body], name)[part.frames] for part in parts])).double()
            for name in ("rays", "confidence", "position", "pose")
        )
        self.root[:, 2].clamp_(min=_NEAREST_M)
        self.bones = pose[:, _CHILDREN] - pose[:, _PARENTS]
        self.chains = bone_chains().T.double()  # (17, 16)
        joints = pose + self.root[:, None]
        self.centre = joints.mean(dim=(0, 1))
        self.distance = torch.stack([self.root[self.of_body == k, 2].median() for k in range(len(bodies))])[
            self.of_body
        ]
        ends = torch.tensor(counts).cumsum(0)
        self.inner = torch.ones(len(joints) - 2 if len(joints) > 2 else 0, 1, 1).double()  # 0 between parts
        for end in ends[:-1].tolist():
            self.inner[max(end - 2, 0) : end] = 0
        self.acceleration = _ACCELERATION_M_S2 / fps**2
        self._set_bodies(bodies, known_bones)
        self._set_floor(joints, pitch_deg, contact)
        self._set_balance(pose, joints)

    def _set_bodies(self, bodies: Sequence[Body], known_bones: Mapping[int, float]) -> None:
        """Set the initial bone lengths with their standard deviations, and the statures."""
        lengths = np.stack([body.lengths for body in bodies])
        measured = np.stack([are_measured(body.confidence) for body in bodies])
        free = np.ones(len(BONES))
        for bone, length in known_bones.items():
            sides = [bone, SIDES[bone]]
            lengths[:, sides], free[sides] = length, 0
        self.free = torch.from_numpy(free)
        self.log_lengths = torch.from_numpy(np.log(lengths))
        self.length_std = torch.from_numpy(np.where(measured, _MEASURED_STD, np.inf))
        self.log_adult = torch.from_numpy(np.log(np.stack([adult_bones(body.lengths) for body in bodies])))
        self.stretched = None if known_bones else torch.from_numpy(lengths @ STRETCHED)
        self.ankle = torch.tensor([ANKLE_SHARE * stature_of(body.lengths) for body in bodies]).double()[self.of_body]

    def _set_floor(self, joints: Tensor, pitch_deg: float, contact: bool) -> None:
        """Set the contacts (frame, ankle and number of each), the lowest joints, and the initial floor."""
        self.start_pitch = np.deg2rad(pitch_deg)
        heights = to_world((joints - self.centre).numpy(), pitch_deg)[..., 2]
        contacts, first, count = np.full((len(joints), len(ANKLES)), -1), 0, 0
        for part in self.parts if contact else ():
            rows = slice(first, first := first + part.frames.stop - part.frames.start)
            found = contacts_of(
                self.rays[rows].numpy(),
                self.confidence[rows].numpy(),
                self.root[rows, 2].numpy(),
                heights[rows],
                self.fps,
            )
            contacts[rows] = np.where(found >= 0, found + count, -1)
            count += int(found.max(initial=-1)) + 1
        frame, foot = np.nonzero(contacts >= 0)
        self.stances, self.stand_frame = count, torch.from_numpy(frame)
        self.stand_joint, self.stand_number = torch.tensor(ANKLES)[foot], torch.from_numpy(contacts[frame, foot])
        self.stand_frames = torch.bincount(self.stand_number, minlength=count).double()
        seen = self.confidence.numpy() > 0
        clearance = np.full(seen.shape, _CLEARANCE_M)
        clearance[:, list(ANKLES)] = self.ankle[:, None].numpy()
        above = heights - clearance
        if not seen[:, list(ANKLES)].any():
            seen = np.ones_like(seen)
        limit = np.quantile(above[seen], _LOWEST_SHARE) if seen.any() else 0.0
        self.lowest = torch.from_numpy(seen & (above <= limit))
        self.clearance = torch.from_numpy(clearance)
        self.start_floor = float(np.quantile(above[frame, np.array(ANKLES)[foot]], 0.1) if count else limit)

    def _set_balance(self, pose: Tensor, joints: Tensor) -> None:
        """Set the frames (n,) bool on straight legs, and the vectors from their ankles to the middle of the feet."""
        hips, ankles = _LEGS
        leg = self.log_lengths.exp()[:, 1:3].sum(dim=1)[self.of_body]
        straight = torch.linalg.vector_norm(pose[:, hips] - pose[:, ankles], dim=-1).mean(dim=1) > _STRAIGHT * leg
        upright = joints[:, _HEAD, 1] < joints[:, ankles, 1].mean(dim=1)
        self.on_legs = straight & upright & (self.confidence[:, [*hips, *ankles]] > 0).all(dim=1)
        left, right = pose[self.on_legs][:, hips].unbind(dim=1)
        up = torch.tensor([0.0, -1.0, 0.0]).double().expand_as(left)
        self.ahead = _AHEAD_M * torch.nn.functional.normalize(torch.linalg.cross(left - right, up), dim=-1)

    def lengths(self, unknowns: Unknowns) -> Tensor:
        """Return bone lengths (K, 16) in metres, equal left and right.

        Known bones keep their lengths. If no bone is known, each body keeps its stature.
        """
        change = (unknowns.lengths + unknowns.lengths[:, SIDES]) / 2 * self.free
        lengths = (self.log_lengths + change).exp()
        if self.stretched is None:
            return lengths
        return lengths * (self.stretched / (lengths @ torch.from_numpy(STRETCHED)))[:, None]

    def joints(self, deviation: Tensor, unknowns: Unknowns) -> Tensor:
        """Return the joints (n, 17, 3), metres in camera axes.

        Bones have the network's directions and the lengths of `unknowns`. `deviation` is added to the joints.
        """
        lean = unknowns.lean[self.of_body][:, None]
        depth = self.bones[..., 2] + (lean * self.bones[..., :2]).sum(dim=-1)
        bones = torch.cat([self.bones[..., :2], depth[..., None]], dim=-1)
        scale = self.lengths(unknowns)[self.of_body] / torch.linalg.vector_norm(bones, dim=-1).clamp_min(1e-6)
        return self.root[:, None] + self.chains @ (bones * scale[..., None]) + deviation

    def energy(self, deviation: Tensor, unknowns: Unknowns) -> Tensor:
        """Return the sum of all terms; `deviation` (n, 17, 3), metres, is added to the joints."""
        joints = self.joints(deviation, unknowns)
        up = up_axis(unknowns.pitch, unknowns.roll)
        heights = (joints - self.centre) @ up - unknowns.floor
        of_frames = (
            self._image(joints) + self._bones(joints, deviation, unknowns) + self._acceleration(joints)
            + ((_CLEARANCE_M - heights).relu() / _BELOW_M).square().sum()
        )  # fmt: skip
        total = of_frames / self.correlated + self._bodies(unknowns) + self._camera(unknowns)
        return total + self._floor(joints, heights) + self._balance(joints, up)

    def _image(self, joints: Tensor) -> Tensor:
        image = joints[..., :2] / joints[..., 2:].clamp_min(_NEAREST_M)
        squares = ((image - self.rays) * (self.distance / IMAGE_M)[:, None, None]).square().sum(dim=-1)
        return (self.confidence * _robust(squares)).sum()

    def _bones(self, joints: Tensor, deviation: Tensor, unknowns: Unknowns) -> Tensor:
        lengths = torch.linalg.vector_norm(joints[:, _CHILDREN] - joints[:, _PARENTS], dim=-1)
        change = (lengths - self.lengths(unknowns)[self.of_body]) / LENGTH_M
        turn = (deviation[:, _CHILDREN] - deviation[:, _PARENTS]) / torch.tensor(DIRECTION_M)
        return change.square().sum() + (_ROBUST / 2 * (turn.square().sum(dim=-1) / (_ROBUST / 2)).log1p()).sum()

    def _acceleration(self, joints: Tensor) -> Tensor:
        if not len(self.inner):
            return joints.new_zeros(())
        change = (joints[2:] - 2 * joints[1:-1] + joints[:-2]) * self.inner
        return (change / self.acceleration).square().sum()

    def _bodies(self, unknowns: Unknowns) -> Tensor:
        lengths = self.lengths(unknowns)
        change = (lengths.log() - self.log_lengths) / self.length_std
        adult = (lengths.log() - self.log_adult) / _ADULT_STD
        lean = unknowns.lean / torch.tensor(_LEAN_STD)
        return change.square().sum() + adult.square().sum() + lean.square().sum()

    def _camera(self, unknowns: Unknowns) -> Tensor:
        pitch = _robust((unknowns.pitch.rad2deg() / _PITCH_STD_DEG).square())  # some cameras are steep
        roll = _robust((unknowns.roll.rad2deg() / _ROLL_STD_DEG).square())
        return roll if self.pitch_is_known else pitch + roll

    def _floor(self, joints: Tensor, heights: Tensor) -> Tensor:
        if not self.stances:
            return ((heights - self.clearance)[self.lowest].mean() / _FLOOR_STD_M).square()
        ankles, above = joints[self.stand_frame, self.stand_joint], heights[self.stand_frame, self.stand_joint]
        mean = self._mean_of_stances(ankles)
        moved = ((ankles - mean[self.stand_number]) / CONTACT_M).square().sum()
        height = (self._mean_of_stances(above - self.ankle[self.stand_frame]) / _FLOOR_STD_M).square()
        weight = (self.stand_frames / self.correlated).clamp_max(1)
        return moved / self.correlated + (weight * height / (1 + height / _ROBUST)).sum()

    def level_pitch(self, joints: Tensor) -> float:
        """Return the pitch in degrees, at roll 0, with which the ankles in contact of `joints` (n, 17, 3) are level."""
        ankles = self._mean_of_stances(joints[self.stand_frame, self.stand_joint])
        _, axes = np.linalg.eigh(np.cov(ankles[:, 1:].T.numpy()))
        y, z = axes[:, 0] * np.sign(axes[0, 0])  # down
        return float(np.rad2deg(np.arctan2(z, y)))

    def is_uneven(self, joints: Tensor, unknowns: Unknowns) -> bool:
        """Return whether a foot stands far (`_UNEVEN_M`) above or below the floor."""
        up = up_axis(unknowns.pitch, unknowns.roll)
        heights = (joints[self.stand_frame, self.stand_joint] - self.centre) @ up - unknowns.floor
        return bool((self._mean_of_stances(heights - self.ankle[self.stand_frame]).abs() > _UNEVEN_M).any())

    def _mean_of_stances(self, values: Tensor) -> Tensor:
        total = values.new_zeros(self.stances, *values.shape[1:]).index_add(0, self.stand_number, values)
        return total / self.stand_frames.view(-1, *[1] * (values.dim() - 1))

    def _balance(self, joints: Tensor, up: Tensor) -> Tensor:
        count = int(self.on_legs.sum())
        if not count:
            return up.new_zeros(())
        standing = joints[self.on_legs]
        offset = (standing * _MASS[:, None]).sum(dim=1) - standing[:, _LEGS[1]].mean(dim=1) - self.ahead
        across = offset - (offset @ up)[:, None] * up
        squares = (across / _BALANCE_M).square().sum(dim=-1)
        return _robust(squares).mean() * min(count / (_BALANCE_S * self.fps), _MOST_BALANCE)


def _robust(squares: Tensor) -> Tensor:
    """Reduce squared residuals (in standard deviations), so that values above `_ROBUST` count less."""
    return _ROBUST * (squares / _ROBUST).log1p()
