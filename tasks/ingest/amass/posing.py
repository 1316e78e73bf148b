"""Pose a body model and return its 17 joints.

Skinning and the regression of joints are both linear. So the vertices that the regressor weighs are summed once, for
each pair of a joint and a bone that moves some of the joint's vertices (`SkinnedJoints`). The result equals that of
skinning every vertex and multiplying by the regressor, with a small part of the work.

Source of the formulas: Loper et al., SMPL (SIGGRAPH Asia 2015), sections 3.1 to 3.3. Frames are the last axis of inner
arrays, because numpy is fast along long axes.
"""

from dataclasses import dataclass

import numpy as np

from data_contracts.skeleton import NUM_JOINTS

_FRAMES = 1024  # frames per block, so that the rotations stay in the cache


@dataclass(frozen=True)
class SkinnedJoints:
    """The 17 joints of one body at rest, as weighted points of the bones that move them.

    The arrays from `joint` to `correction` have one row per pair of a joint and a bone that moves it.
    """

    parents: tuple[int, ...]  # of the bones, a parent before its children; -1: none
    rest: np.ndarray  # (bones, 3), metres: where each bone begins
    joint: np.ndarray  # (pairs,), index of the H36M joint
    bone: np.ndarray  # (pairs,)
    weight: np.ndarray  # (pairs,), sum of the weights of the vertices
    point: np.ndarray  # (pairs, 3), weighted sum of the vertices at rest
    correction: np.ndarray  # (pairs, 3, 9 x (bones - 1)) float32, sum of the pose corrections; or (pairs, 3, 0)

    def pose(self, poses: np.ndarray, trans: np.ndarray) -> np.ndarray:
        """Return joints (n, 17, 3) float32 in metres, for `BodyMotion.poses` (n, 3 x bones) and `trans` (n, 3)."""
        joints = np.empty((len(poses), NUM_JOINTS, 3), np.float32)
        total = np.bincount(self.joint, self.weight, NUM_JOINTS).astype(np.float32)  # 1 for most regressors
        for start in range(0, len(poses), _FRAMES):
            block = slice(start, start + _FRAMES)
            joints[block] = self._pose_block(poses[block]).transpose(2, 0, 1)
            joints[block] += total[:, None] * trans[block, None].astype(np.float32)
        return joints

    def _pose_block(self, poses: np.ndarray) -> np.ndarray:
        """Return the joints (17, 3, n) of a block of `BodyMotion.poses`, without translation."""
        turns = rotations(poses.reshape(len(poses), -1, 3).transpose(1, 2, 0).astype(np.float32))  # (bones, 3, 3, n)
        corrections = self._corrections(turns)  # (pairs, 3, n) or None
        moved = self._moved_bones(turns)
        joints = np.zeros((NUM_JOINTS, 3, len(poses)), np.float32)
        local = self.point - self.weight[:, None] * self.rest[self.bone]  # relative to where the bone begins
        for pair, (joint, bone, weight) in enumerate(zip(self.joint, self.bone, self.weight, strict=True)):
            turn, start = moved[int(bone)]
            point = local[pair].astype(np.float32)[:, None]
            point = point if corrections is None else point + corrections[pair]
            for axis in range(3):
                joints[joint, axis] += (turn[axis] * point).sum(axis=0) + np.float32(weight) * start[axis]
        return joints

    def _corrections(self, turns: np.ndarray) -> np.ndarray | None:
        if not self.correction.size:
            return None
        features = turns[1:] - np.eye(3, dtype=np.float32)[:, :, None]
        flat = features.reshape(-1, features.shape[-1])
        return (self.correction.reshape(-1, len(flat)) @ flat).reshape(-1, 3, flat.shape[-1])

    def _moved_bones(self, turns: np.ndarray) -> dict[int, tuple[np.ndarray, np.ndarray]]:
        """Return rotation (3, 3, n) and start (3, n) by bone, for bones that move a joint and all their ancestors."""
        needed = set(self.bone.tolist())
        for bone in range(len(self.parents) - 1, 0, -1):
            if bone in needed:
                needed.add(self.parents[bone])
        moved = {}
        for bone in sorted(needed):
            parent = self.parents[bone]
            if parent < 0:
                start = np.broadcast_to(self.rest[bone].astype(np.float32)[:, None], turns.shape[2:]).copy()
                moved[bone] = turns[bone], start
                continue
            turn, start = moved[parent]
            offset = (self.rest[bone] - self.rest[parent]).astype(np.float32)
            own = np.einsum("ijn,jkn->ikn", turn, turns[bone])
            moved[bone] = own, start + np.einsum("ijn,j->in", turn, offset)
        return moved


def rotations(vectors: np.ndarray) -> np.ndarray:
    """Return the rotation matrices (..., 3, 3, n) float32 of vectors (..., 3, n), axis times angle in radians.

    Source: Rodrigues' formula, with sin(a) / a and (1 - cos(a)) / a^2, which are finite at 0.
    """
    x, y, z = np.moveaxis(vectors, -2, 0)
    angle = np.sqrt(x * x + y * y + z * z)
    first = np.sinc(angle / np.pi)
    second = np.square(np.sinc(angle / (2 * np.pi))) / 2
    out = np.empty((*vectors.shape[:-2], 3, 3, vectors.shape[-1]), np.float32)
    for axis, square in enumerate((y * y + z * z, x * x + z * z, x * x + y * y)):
        out[..., axis, axis, :] = 1 - second * square
    for row, column, product, other in ((0, 1, x * y, z), (2, 0, x * z, y), (1, 2, y * z, x)):
        out[..., row, column, :] = second * product - first * other
        out[..., column, row, :] = second * product + first * other
    return out
