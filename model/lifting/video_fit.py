"""Fit the people of a video together: bone lengths, poses and roots, pitch and roll of the camera, and one floor.

The earlier steps of lifting estimate each quantity separately. The fit minimises one sum of squares over all frames of
a video. Its terms (`fit_terms`) mean:

- Joints project to the keypoints, weighted by confidence; outliers count less.
- Bones have the directions that the network found, and constant lengths.
- Motion is smooth.
- A foot in contact does not move, all contacts are on one floor, and no joint is below the floor.
- The centre of mass of a person on straight legs is above the feet.
- The camera is about level.

L-BFGS needs about 25 steps, because the unknowns are first decorrelated (`Whitening`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from scipy.fft import dct, idct
from scipy.optimize import LbfgsInvHessProduct
from torch import Tensor

from data_contracts.skeleton import BONES, NUM_JOINTS
from model.lifting.contact import ANKLES
from model.lifting.fit_terms import CONTACT_M, DIRECTION_M, IMAGE_M, LENGTH_M, Part, Terms, Unknowns
from model.lifting.gravity import up_axis
from model.lifting.skeleton_fit import Body

_ITERATIONS, _REMEMBERED = 25, 12
_STEPS = (0.01, 0.015, 0.012, 0.01, 0.012)  # typical errors of pitch, roll, floor, log lengths and lean
_LASTING_PITCH_DEG = 2.5  # error of the pitch from pose errors that are constant over the video
_LEVEL_DEG = 8.0  # up to this pitch of the bodies, one start (level) suffices
_NEAR_DEG = 30.0  # largest change of pitch by the feet; feet on one line would allow any pitch
_SOFTEST = 1.0  # lower bound of the curvature of the terms of frames, 1 / m^2
LONGEST = 3000  # frames that are fitted at once; it bounds the memory
_SAMPLED = 300  # frames of each part of a long video that is drawn to find the shared unknowns
_OVERLAP = 30  # frames that neighbouring parts of a long track share


@dataclass(frozen=True)
class VideoFit:
    """Result of the fit of a video.

    `joints` (frames, 17, 3) and bone `lengths` (16,) of each body are in metres and camera axes. `floor_m` is the
    height of the floor above the camera, and `stances` the number of contacts with the floor. `..._std` are standard
    deviations.
    """

    joints: list[np.ndarray]
    lengths: list[np.ndarray]
    pitch_deg: float
    pitch_std: float
    roll_deg: float
    roll_std: float
    floor_m: float
    floor_std: float
    stances: int


def fit_video(
    bodies: Sequence[Body],
    fps: float,
    pitch_deg: float,
    pitch_is_known: bool,
    known_bones: Mapping[int, float],
    contact: bool,
    on_share: Callable[[float], None] = lambda _: None,
) -> VideoFit:
    """Fit `bodies`, the people of one video, together; `Terms` describes the other parameters.

    Up to `LONGEST` frames are fitted at once. In a longer video, evenly drawn parts determine the unknowns that all
    frames share; then the video is fitted part by part. `on_share` is called with the finished share in [0, 1].
    """

    def terms_of(parts: Sequence[Part], pitch_deg: float = pitch_deg) -> Terms:
        return Terms(bodies, parts, fps, pitch_deg, pitch_is_known, known_bones, contact)

    drawn = _drawn_parts([len(body.pose) for body in bodies])
    # The pitch of bodies is wrong if a person leans all the time; a level start is wrong for a steep camera.
    starts = [pitch_deg if pitch_is_known else 0.0]
    if not pitch_is_known and abs(pitch_deg) > _LEVEL_DEG:
        starts.append(pitch_deg)
    found = [_minimise(terms_of(drawn, start)) for start in starts]
    best = min(found, key=lambda one: one.energy)
    joints = torch.from_numpy(best.joints)
    if not pitch_is_known and best.terms.stances > 1 and best.terms.is_uneven(joints, best.unknowns):
        level = best.terms.level_pitch(joints)
        if abs(level - best.unknowns.pitch.rad2deg().item()) < _NEAR_DEG:
            found.append(_minimise(terms_of(drawn, level)))
            best = min(found, key=lambda one: one.energy)
    terms, unknowns = best.terms, best.unknowns
    floor_m = float(terms.centre @ up_axis(unknowns.pitch, unknowns.roll) + unknowns.floor)
    if [part.frames for part in drawn] == [slice(0, len(body.pose)) for body in bodies]:
        fitted = np.split(best.joints, np.cumsum([len(body.pose) for body in bodies])[:-1])
    else:
        fitted = _fit_long(bodies, terms_of, unknowns, floor_m, on_share)
    return VideoFit(
        fitted,
        list(terms.lengths(unknowns).numpy()),
        unknowns.pitch.rad2deg().item(),
        float(np.hypot(_pitch_std(found), 0 if pitch_is_known else _LASTING_PITCH_DEG)),
        unknowns.roll.rad2deg().item(),
        float(np.rad2deg(best.std[1])),
        floor_m,
        float(best.std[2]),
        terms.stances,
    )


def _pitch_std(found: Sequence["_Minimum"]) -> float:
    """Return the standard deviation of the pitch, degrees, around the minimum with the least energy.

    It includes the other minima by their probability, because a body that leans looks like a steep camera.
    """
    best = min(found, key=lambda one: one.energy)
    weights = np.exp([(best.energy - one.energy) / 2 for one in found])
    off = np.array([(one.unknowns.pitch - best.unknowns.pitch).item() for one in found])
    return float(np.rad2deg(np.sqrt(best.std[0] ** 2 + (weights * off**2).sum() / weights.sum())))


def _drawn_parts(frames: Sequence[int]) -> list[Part]:
    """Return all frames of all bodies or, if these are too many, evenly drawn parts, about `LONGEST` frames in all."""
    total = sum(frames)
    if total <= LONGEST:
        return [Part(number, slice(0, count)) for number, count in enumerate(frames)]
    drawn = []
    for number, count in enumerate(frames):
        parts = max(1, round(LONGEST * count / total / _SAMPLED))
        starts = np.linspace(0, max(count - _SAMPLED, 0), parts).astype(int)
        drawn += [Part(number, slice(int(start), int(min(start + _SAMPLED, count)))) for start in starts]
    return drawn


def _fit_long(
    bodies: Sequence[Body],
    terms_of: Callable[[Sequence[Part]], Terms],
    unknowns: Unknowns,
    floor_m: float,
    on_share: Callable[[float], None],
) -> list[np.ndarray]:
    """Return the joints of each body, fitted part by part with fixed shared unknowns; overlaps are blended."""
    total, done = sum(len(body.pose) for body in bodies), 0
    fitted = []
    for number, body in enumerate(bodies):
        frames = len(body.pose)
        joints, weights = np.zeros((frames, NUM_JOINTS, 3)), np.zeros(frames)
        for first in range(0, frames, LONGEST):
            part = Part(number, slice(max(first - _OVERLAP, 0), min(first + LONGEST, frames)))
            terms = terms_of([part])
            level = floor_m - terms.centre @ up_axis(unknowns.pitch, unknowns.roll)
            found = _minimise(terms, unknowns._replace(floor=level)).joints
            weight = np.minimum(np.arange(1, len(found) + 1) / (_OVERLAP + 1), 1) if first else np.ones(len(found))
            weight = np.minimum(weight, np.arange(len(found), 0, -1) / (_OVERLAP + 1))
            joints[part.frames] += found * weight[:, None, None]
            weights[part.frames] += weight
            done += len(found)
            on_share(min(done / total, 1.0))
        fitted.append(joints / weights[:, None, None])
    return fitted


@dataclass(frozen=True)
class _Minimum:
    """Joints (n, 17, 3) and unknowns of least energy; `std` (3,) of pitch and roll in radians, and floor in metres."""

    terms: Terms
    joints: np.ndarray
    unknowns: Unknowns
    std: np.ndarray
    energy: float


def _minimise(terms: Terms, known: Unknowns | None = None) -> _Minimum:
    """Minimise the energy of `terms`. If the shared unknowns are `known`, only the joints are fitted."""
    problem = _Problem(terms, known)
    values = torch.zeros(problem.size, dtype=torch.float64)
    visited: list[tuple[np.ndarray, np.ndarray]] = []  # points and gradients

    def closure() -> float:
        energy, gradient = problem.energy_of(values.numpy())
        visited.append((values.numpy().copy(), gradient))
        values.grad = torch.from_numpy(gradient)
        return energy

    torch.optim.LBFGS([values], max_iter=_ITERATIONS, history_size=_REMEMBERED, line_search_fn="strong_wolfe").step(
        closure
    )
    with torch.no_grad():
        deviation, _, unknowns = problem.parts_of(values.numpy())
        joints, energy = terms.joints(deviation, unknowns).numpy(), terms.energy(deviation, unknowns).item()
    std = np.zeros(3) if known is not None else _stds(visited, problem.deviations, problem.steps[:3])
    return _Minimum(terms, joints, Unknowns(*(value.detach() for value in unknowns)), std, energy)


class _Problem:
    """Energy of `terms` as a function of one vector: `deviations` decorrelated values of joints, then the unknowns."""

    def __init__(self, terms: Terms, known: Unknowns | None) -> None:
        self.terms, self.known, self.people = terms, known, len(terms.log_lengths)
        self.whitening, self.deviations = Whitening(terms), len(terms.root) * NUM_JOINTS * 3
        self.sizes = (1, 1, 1, 16 * self.people, 2 * self.people)
        self.start = np.zeros(sum(self.sizes))
        self.start[0], self.start[2] = terms.start_pitch, terms.start_floor
        self.steps = np.repeat(_STEPS, self.sizes) * np.sqrt(15 * terms.correlated / max(len(terms.root), 15))
        self.steps[0] *= not terms.pitch_is_known
        self.size = self.deviations + (len(self.start) if known is None else 0)

    def parts_of(self, values: np.ndarray) -> tuple[Tensor, Tensor, Unknowns]:
        """Return the deviations (n, 17, 3), the unknowns as a flat tensor (empty if known), and the unknowns."""
        deviation = torch.from_numpy(self.whitening.deviation_of(values[: self.deviations])).requires_grad_()
        if self.known is not None:
            return deviation, torch.zeros(0), self.known
        flat = torch.from_numpy(self.start + values[self.deviations :] * self.steps).requires_grad_()
        pitch, roll, floor, lengths, lean = flat.split(self.sizes)
        unknowns = Unknowns(pitch[0], roll[0], floor[0], lengths.view(self.people, 16), lean.view(self.people, 2))
        return deviation, flat, unknowns

    def energy_of(self, values: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the energy, and its gradient with the size of `values`."""
        deviation, flat, unknowns = self.parts_of(values)
        energy = self.terms.energy(deviation, unknowns)
        energy.backward()
        assert deviation.grad is not None
        of_unknowns = np.zeros(0) if flat.grad is None else flat.grad.numpy() * self.steps
        return energy.item(), np.concatenate([self.whitening.gradient_of(deviation.grad.numpy()), of_unknowns])


def _stds(visited: list[tuple[np.ndarray, np.ndarray]], first: int, steps: np.ndarray) -> np.ndarray:
    """Return the standard deviations of the unknowns from index `first` on; `steps` are the units of their values.

    `visited` has the points and gradients of the minimisation. They give the inverse Hessian of L-BFGS; twice this
    matrix is the covariance.
    """
    pairs = [(after[0] - before[0], after[1] - before[1]) for before, after in pairwise(visited)]
    changes, gradients = (np.stack(of_all) for of_all in zip(*(p for p in pairs if p[0] @ p[1] > 0), strict=True))
    directions = np.zeros((len(changes[0]), len(steps)))
    directions[first + np.arange(len(steps)), np.arange(len(steps))] = steps
    inverse = LbfgsInvHessProduct(changes, gradients)
    return np.sqrt(2 * np.einsum("ij,ij->j", directions, inverse.matmat(directions)))


class Whitening:
    """Change of variables for the deviations of joints: the curvature becomes about 1 in all directions.

    Two transforms make the curvature diagonal: the eigenvectors of the mean curvature of a part, over joints and axes,
    and the cosine transform over time, for the smoothness term. Each new variable is divided by the root of its
    curvature.
    """

    def __init__(self, terms: Terms) -> None:
        self.scale_of_all = np.sqrt(terms.correlated)
        self.parts: list[tuple[slice, np.ndarray, np.ndarray]] = []
        first = 0
        for part in terms.parts:
            rows = slice(first, first := first + part.frames.stop - part.frames.start)
            count = rows.stop - rows.start
            values, vectors = np.linalg.eigh(_mean_curvature(terms, rows).reshape(NUM_JOINTS * 3, -1))
            smooth = (2 * np.sin(np.pi * np.arange(count) / (2 * count))) ** 4 / terms.acceleration**2
            self.parts.append((rows, vectors, (np.maximum(values, _SOFTEST) + smooth[:, None]) ** -0.5))

    def deviation_of(self, values: np.ndarray) -> np.ndarray:
        """Return deviations (n, 17, 3) for coordinates (n * 51,)."""
        flat = values.reshape(-1, NUM_JOINTS * 3)
        out = [idct((flat[rows] * scale) @ vectors.T, axis=0, norm="ortho") for rows, vectors, scale in self.parts]
        return np.concatenate(out).reshape(-1, NUM_JOINTS, 3) * self.scale_of_all

    def gradient_of(self, gradient: np.ndarray) -> np.ndarray:
        """Convert a gradient (n, 17, 3) with respect to deviations to one (n * 51,) with respect to coordinates."""
        flat = gradient.reshape(-1, NUM_JOINTS * 3)
        out = [dct(flat[rows], axis=0, norm="ortho") @ vectors * scale for rows, vectors, scale in self.parts]
        return np.concatenate(out).ravel() * self.scale_of_all


def _mean_curvature(terms: Terms, rows: slice) -> np.ndarray:
    """Return half of the Hessian (17, 3, 17, 3) of all terms except smoothness, mean over frames, in 1 / m^2."""
    parents, children = np.array(BONES).T
    ends = np.zeros((len(BONES), NUM_JOINTS))
    ends[np.arange(len(BONES)), children], ends[np.arange(len(BONES)), parents] = 1, -1
    bones = terms.bones[rows].numpy()
    along = bones / np.maximum(np.linalg.norm(bones, axis=-1, keepdims=True), 1e-9)
    of_bone = np.einsum("nbi,nbj->bij", along, along) / len(bones) / LENGTH_M**2 + np.diag(1 / np.square(DIRECTION_M))
    curvature = np.einsum("bj,bk,bxy->jxky", ends, ends, of_bone)
    confidence = terms.confidence[rows].numpy()
    rays = np.where(confidence[..., None] > 0, terms.rays[rows].numpy(), 0)
    across = np.concatenate([np.broadcast_to(np.eye(2), (*rays.shape, 2)), -rays[..., None]], axis=-1)
    of_image = np.einsum("nj,njia,njib->jab", confidence, across, across) / len(rays) / IMAGE_M**2
    curvature[range(NUM_JOINTS), :, range(NUM_JOINTS)] += of_image
    stands = (terms.stand_frame >= rows.start) & (terms.stand_frame < rows.stop)
    for ankle in ANKLES:
        share = int((stands & (terms.stand_joint == ankle)).sum()) / len(rays)
        curvature[ankle, :, ankle] += np.eye(3) * share / CONTACT_M**2 / 2
    return curvature
