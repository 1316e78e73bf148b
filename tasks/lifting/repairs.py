"""Find faults of a detector within a track: jumps of the person or of a joint, and exchanged left and right sides.

Limits are speeds of a body with adult bones in the image, so they depend neither on image size nor on distance. They
exceed the fastest motion of projected CMU and UI-PRMD clips (dance, martial arts, jumps, acrobatics) at 15 to 60 fps.
Real motion also continues after a fast step, so a fault must in addition come back, or fit the other side.
"""

from typing import NamedTuple

import numpy as np
from scipy.ndimage import median_filter

from data_contracts.skeleton import ADULT_BONES_M, BONES, MIRROR

_BODY_SPEED = 8.0  # m/s of the median joint from frame to frame; the fastest in clips moves at 7
_JOINT_SPEED = 8.0  # m/s away from the path between the frames before and after; in clips at most 5
_SIDES_SPEED = 3.0  # m/s, mean of three joints, by which exchanged sides must continue more smoothly; in clips 3
_JOINT_M = 0.2  # shortest jump of a joint; the noise of a detector does not shrink with shorter steps
_SHORTEST_S = 1 / 60  # of a step; limits of bodies and sides do not shrink with shorter steps
_USUAL = 4.0  # a jump exceeds the third quartile of the track's own steps by this factor (unknown rate, moving camera)
MOST_AWAY_S = 0.35  # longest time away of a phantom; later nothing shows that the same person came back
_VISIBLE = 1.5  # a step in which sides are exchanged costs more than after an exchange, by this number of exchanges
_UNUSUAL = 2.0  # an exchange of sides exceeds the median of the track's own changes by this factor (small people)
_MOST_BACK = 0.5  # the way from before to after a jump, as a share of the jump
_UNIT_FRAMES = 31  # frames of the median of the size in the image
_EXCHANGE_S = 1.0  # sides that stay exchanged for this time cost as much as one more exchange
_CERTAIN = 0.7  # exchanged rows are cheaper by this share of an exchange than the same rows without an exchange
_PAIRS = {"legs": ((1, 4), (2, 5), (3, 6)), "arms": ((14, 11), (15, 12), (16, 13))}  # right, left
_PARENT, _CHILD = np.array(BONES).T


class Steps(NamedTuple):
    """Times and scale of the rows of a person, by which distances between rows become speeds."""

    times: np.ndarray  # (n,) seconds
    seconds: np.ndarray  # (n - 1,) from row to row, at least `_SHORTEST_S`
    metre: np.ndarray  # (n,) pixels per metre of a body with adult bones


def steps_of(frame: np.ndarray, pose_2d: np.ndarray, fps: float) -> Steps:
    """Return the steps of a person with increasing frame numbers (n,) and poses (n, 17, 3)."""
    return Steps(frame / fps, np.maximum(np.diff(frame) / fps, _SHORTEST_S), pixels_per_metre(pose_2d))


def pixels_per_metre(pose_2d: np.ndarray) -> np.ndarray:
    """Return the size (n,) of a person in the image: the third longest bone, relative to the bone of an adult.

    A bone in the image is at most as long as the bone itself, and two bones may end at a joint that jumped. The size is
    infinite, and nothing is fast, if fewer than three bones were seen.
    """
    both = (pose_2d[:, _PARENT, 2] > 0) & (pose_2d[:, _CHILD, 2] > 0)
    lengths = np.linalg.norm(pose_2d[:, _PARENT, :2] - pose_2d[:, _CHILD, :2], axis=-1)
    third = np.sort(np.where(both, lengths / np.array(ADULT_BONES_M), 0.0), axis=1)[:, -3]
    size = median_filter(third, _UNIT_FRAMES, mode="nearest")
    return np.where(size > 0, size, np.inf)


def jumps_of(pose_2d: np.ndarray, steps: Steps) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows (n,) of phantoms, which jump away and back, and the rows (k,) after jumps without return."""
    phantom = np.zeros(len(pose_2d), bool)
    middles = _middles(pose_2d)
    moved = median_step(middles[:-1], middles[1:]) / steps.metre[1:]
    speeds = moved / steps.seconds
    edges = np.flatnonzero(speeds > max(_BODY_SPEED, _USUAL * _quantile(speeds, 0.75))) + 1
    times = steps.times[edges]
    after_jump = []
    place = 0
    while place < len(edges):
        begin = edges[place]
        ends = edges[place + 1 : np.searchsorted(times, steps.times[begin] + MOST_AWAY_S, side="right")]
        before = np.full(len(ends), begin - 1)
        way = median_step(middles[before], middles[ends]) / steps.metre[ends]
        back = np.flatnonzero(way < _MOST_BACK * np.minimum(moved[begin - 1], moved[ends - 1]))
        if len(back):
            phantom[begin : ends[back[0]]] = True
            place += back[0] + 2
        else:
            after_jump.append(begin)
            place += 1
    return phantom, np.array(after_jump, np.int64)


def median_step(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Return the median distance (n,) of the common joints of poses (n, K, 3); 0 without a common joint."""
    both = (before[..., 2] > 0) & (after[..., 2] > 0)
    distance = np.sort(np.where(both, np.linalg.norm((after - before)[..., :2], axis=-1), np.inf), axis=1)
    place = np.maximum(both.sum(axis=1) - 1, 0) // 2
    median = np.take_along_axis(distance, place[:, None], axis=1)[:, 0]
    return np.where(both.any(axis=1), median, 0.0)


def _quantile(values: np.ndarray, share: float) -> float:
    return float(np.quantile(values, share)) if values.size else 0.0


def _middles(pose_2d: np.ndarray) -> np.ndarray:
    """Return points (n, 11, 3) that exchanged sides do not move: joints of the trunk, and middles of left and right."""
    first = [joint for joint, other in enumerate(MIRROR) if joint <= other]
    one, other = pose_2d[:, first], pose_2d[:, np.array(MIRROR)[first]]
    confidence = np.minimum(one[..., 2:], other[..., 2:])
    return np.concatenate([(one[..., :2] + other[..., :2]) / 2, confidence], axis=-1)


def jumping_joints(pose_2d: np.ndarray, steps: Steps) -> np.ndarray:
    """Return which joints (n, 17) jump away from their path for one or two rows and come back."""
    points = pose_2d[..., :2]
    jumping, times = np.zeros(points.shape[:2], bool), steps.times
    for length in (1, 2):
        count = max(len(points) - length - 1, 0)
        seen = (pose_2d[..., 2] > 0) & ~jumping
        before, after = slice(0, count), slice(length + 1, None)
        way = np.linalg.norm(points[after] - points[before], axis=-1)
        is_jump = seen[before] & seen[after]
        for inside in range(1, length + 1):
            here = slice(inside, inside + count)
            share = ((times[here] - times[before]) / (times[after] - times[before]))[:, None, None]
            away = np.linalg.norm(points[here] - (1 - share) * points[before] - share * points[after], axis=-1)
            nearer = np.minimum(times[here] - times[before], times[after] - times[here])
            limit = np.maximum(_JOINT_SPEED * nearer, _JOINT_M) * steps.metre[here]
            limit = np.maximum(limit, _USUAL * _quantile(away[seen[here]], 0.75))
            is_jump &= seen[here] & (away > limit[:, None]) & (way < _MOST_BACK * away)
        for inside in range(1, length + 1):
            jumping[inside : inside + count] |= is_jump
    return jumping


def exchanged_sides(pose_2d: np.ndarray, steps: Steps) -> dict[str, np.ndarray]:
    """Return the rows (n,) in which left and right are exchanged, for the legs and for the arms.

    The rows are the cheapest sequence of exchanges (Viterbi): a step costs the mean change of the vectors from right to
    left, and an exchange costs `_SIDES_SPEED`. Rows count only if every sequence without them costs more by `_CERTAIN`,
    so rows between a visible exchange and one while the limbs overlap in the image are left as they are.
    """
    return {part: _exchanged(*_step_costs(pose_2d, np.array(pairs), steps), steps) for part, pairs in _PAIRS.items()}


def visible_exchanges(pose_2d: np.ndarray, steps: Steps) -> np.ndarray:
    """Return the rows (k,) in which left and right legs or arms seem to be exchanged against the row before."""
    costs = [_step_costs(pose_2d, np.array(pairs), steps) for pairs in _PAIRS.values()]
    return np.flatnonzero(np.any([same - other > _VISIBLE for same, other in costs], axis=0)) + 1


def with_sides(pose_2d: np.ndarray, exchanged: dict[str, np.ndarray]) -> np.ndarray:
    """Return poses (n, 17, C) whose left and right joints are exchanged in these rows (n,)."""
    result = pose_2d.copy()
    for part, rows in exchanged.items():
        places = np.ravel(_PAIRS[part])
        result[np.ix_(rows, places)] = pose_2d[np.ix_(rows, np.array(MIRROR)[places])]
    return result


def _step_costs(pose_2d: np.ndarray, pairs: np.ndarray, steps: Steps) -> tuple[np.ndarray, np.ndarray]:
    """Return the costs (n - 1,) of steps without and with an exchange, in units of the cost of an exchange."""
    right, left = pose_2d[:, pairs[:, 0]], pose_2d[:, pairs[:, 1]]
    vector, seen = (left - right)[..., :2], np.minimum(left, right)[..., 2] > 0  # (n, 3, 2), (n, 3)
    both = np.logical_and(seen[1:], seen[:-1])
    changes = np.linalg.norm([vector[1:] - vector[:-1], vector[1:] + vector[:-1]], axis=-1)
    same, other = np.where(both, changes, 0).sum(axis=-1) / np.maximum(both.sum(axis=1), 2)
    unit = np.maximum(_SIDES_SPEED * steps.seconds * steps.metre[1:], _UNUSUAL * _quantile(same, 0.5))
    return same / unit, other / unit


def _exchanged(same: np.ndarray, other: np.ndarray, steps: Steps) -> np.ndarray:
    """Return the rows (n,) that are exchanged, from the costs (n - 1,) of steps."""
    count = len(same) + 1
    if not (same - other > 1).any():
        return np.zeros(count, bool)
    per_row = np.concatenate([steps.seconds[:1], steps.seconds]) / _EXCHANGE_S
    forward = _costs_before(same, other, per_row)
    backward = _costs_before(same[::-1], other[::-1], per_row[::-1])[::-1]
    own = np.stack([np.zeros(count), per_row], axis=1)
    total = forward + backward - own  # (n, 2): cheapest sequence through each state of each row
    return np.asarray(total[:, 0] - total[:, 1] > _CERTAIN)


def _costs_before(same: np.ndarray, other: np.ndarray, per_row: np.ndarray) -> np.ndarray:
    """Return the cost (n, 2) of the cheapest sequence that ends in each row, not exchanged or exchanged."""
    costs = np.empty((len(per_row), 2))
    kept, turned = 0.0, 1 + float(per_row[0])
    costs[0] = kept, turned
    steps = zip(same.tolist(), (other + 1).tolist(), per_row[1:].tolist(), strict=True)
    for row, (stay, change, cost) in enumerate(steps, start=1):
        kept, turned = min(kept + stay, turned + change), min(turned + stay, kept + change) + cost
        costs[row] = kept, turned
    return costs
