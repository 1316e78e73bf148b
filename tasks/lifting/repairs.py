"""Find faults of a detector within a track: jumps of the person or of a joint, and exchanged left and right sides.

- Limits are speeds in the image, scaled by the size of the person to adult size, so they do not depend on image size or
  distance. They exceed the fastest motion of projected CMU and UI-PRMD clips (dance, martial arts, jumps, acrobatics)
  at 15 to 60 fps.
- Real motion continues after a fast step. A fault must therefore also return to its path, or fit the other side.
"""

from typing import NamedTuple

import numpy as np
from scipy.ndimage import median_filter

from data_contracts.skeleton import ADULT_BONES_M, BONES, MIRROR

_BODY_SPEED = 8.0  # m/s, smallest speed of the median joint in a jump; clips reach 7
_JOINT_SPEED = 8.0  # m/s, smallest speed of a jumping joint away from its path; clips reach 5
_SIDES_SPEED = 3.0  # m/s, mean speed of three joints that costs as much as one exchange of sides
_JOINT_M = 0.2  # shortest jump of a joint, because the noise of a detector does not shrink with shorter steps
_SHORTEST_S = 1 / 60  # steps count as at least this long, because noise does not shrink with shorter steps
_USUAL = 4.0  # smallest ratio of a jump to the third quartile of steps, for an unknown rate or a moving camera
MOST_AWAY_S = 0.35  # seconds, longest duration of a phantom; after a longer time the person may be another one
_VISIBLE = 1.5  # smallest gain of a visible exchange of sides, in costs of an exchange
_UNUSUAL = 2.0  # smallest ratio of an exchange of sides to the median change of the track (small people)
_MOST_BACK = 0.5  # largest distance between the places before and after a jump, as a share of the jump
_UNIT_FRAMES = 31  # length of the median filter of the size in the image
_EXCHANGE_S = 1.0  # seconds in which exchanged sides cost as much as one exchange
_CERTAIN = 0.7  # smallest gain of exchanged rows, in costs of an exchange
_PAIRS = {"legs": ((1, 4), (2, 5), (3, 6)), "arms": ((14, 11), (15, 12), (16, 13))}  # right, left
_PARENT, _CHILD = np.array(BONES).T


class Steps(NamedTuple):
    """Times and scale of the rows of a person; they convert distances in the image to speeds."""

    times: np.ndarray  # (n,) seconds
    seconds: np.ndarray  # (n - 1,) from row to row, at least `_SHORTEST_S`
    metre: np.ndarray  # (n,) pixels per metre of a body with adult bones


def steps_of(frame: np.ndarray, pose_2d: np.ndarray, fps: float) -> Steps:
    """Return the steps of a person with increasing frame numbers (n,) and poses (n, 17, 3)."""
    return Steps(frame / fps, np.maximum(np.diff(frame) / fps, _SHORTEST_S), pixels_per_metre(pose_2d))


def pixels_per_metre(pose_2d: np.ndarray) -> np.ndarray:
    """Return the size (n,) of a person in the image in pixels per metre of an adult.

    The size is that of the third longest bone relative to an adult's bone, because foreshortening only shortens bones,
    and the two longest may end at a joint that jumped. The size is smoothed by a median over `_UNIT_FRAMES` rows. It is
    infinite with fewer than three detected bones, so that no speed exceeds its limit.
    """
    both = (pose_2d[:, _PARENT, 2] > 0) & (pose_2d[:, _CHILD, 2] > 0)
    lengths = np.linalg.norm(pose_2d[:, _PARENT, :2] - pose_2d[:, _CHILD, :2], axis=-1)
    third = np.sort(np.where(both, lengths / np.array(ADULT_BONES_M), 0.0), axis=1)[:, -3]
    size = median_filter(third, _UNIT_FRAMES, mode="nearest")
    return np.where(size > 0, size, np.inf)


def jumps_of(pose_2d: np.ndarray, steps: Steps) -> tuple[np.ndarray, np.ndarray]:
    """Return which rows (n,) are phantoms (a person jumps away and back), and the rows (k,) just after other jumps."""
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
    """Return the median distance (n,) between common joints of two poses (n, K, 3); 0 without a common joint."""
    both = (before[..., 2] > 0) & (after[..., 2] > 0)
    distance = np.sort(np.where(both, np.linalg.norm((after - before)[..., :2], axis=-1), np.inf), axis=1)
    place = np.maximum(both.sum(axis=1) - 1, 0) // 2
    median = np.take_along_axis(distance, place[:, None], axis=1)[:, 0]
    return np.where(both.any(axis=1), median, 0.0)


def _quantile(values: np.ndarray, share: float) -> float:
    return float(np.quantile(values, share)) if values.size else 0.0


def _middles(pose_2d: np.ndarray) -> np.ndarray:
    """Return points (n, 11, 3) that exchanged sides do not move: trunk joints, and midpoints of left and right."""
    first = [joint for joint, other in enumerate(MIRROR) if joint <= other]
    one, other = pose_2d[:, first], pose_2d[:, np.array(MIRROR)[first]]
    confidence = np.minimum(one[..., 2:], other[..., 2:])
    return np.concatenate([(one[..., :2] + other[..., :2]) / 2, confidence], axis=-1)


def jumping_joints(pose_2d: np.ndarray, steps: Steps) -> np.ndarray:
    """Return which joints (n, 17) jump away from their path for one or two rows and then return."""
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
    """Return the rows (n,) bool in which left and right are exchanged, for the legs and for the arms.

    The Viterbi algorithm finds the sequence of exchanges with the least cost. The cost of a step is the mean change of
    the vectors from right to left; the cost of an exchange is `_SIDES_SPEED`. Only rows with a gain of `_CERTAIN` are
    returned. Rows have a smaller gain if overlapping limbs hide the end of the exchange.
    """
    return {part: _exchanged(*_step_costs(pose_2d, np.array(pairs), steps), steps) for part, pairs in _PAIRS.items()}


def visible_exchanges(pose_2d: np.ndarray, steps: Steps) -> np.ndarray:
    """Return the rows (k,) in which left and right seem to change places, for the legs or for the arms."""
    costs = [_step_costs(pose_2d, np.array(pairs), steps) for pairs in _PAIRS.values()]
    return np.flatnonzero(np.any([same - other > _VISIBLE for same, other in costs], axis=0)) + 1


def with_sides(pose_2d: np.ndarray, exchanged: dict[str, np.ndarray]) -> np.ndarray:
    """Return poses (n, 17, C) with left and right joints exchanged in the rows `exchanged` (n,) of each part."""
    result = pose_2d.copy()
    for part, rows in exchanged.items():
        places = np.ravel(_PAIRS[part])
        result[np.ix_(rows, places)] = pose_2d[np.ix_(rows, np.array(MIRROR)[places])]
    return result


def _step_costs(pose_2d: np.ndarray, pairs: np.ndarray, steps: Steps) -> tuple[np.ndarray, np.ndarray]:
    """Return the costs (n - 1,) of steps without and with an exchange, in units of the cost of the exchange itself."""
    right, left = pose_2d[:, pairs[:, 0]], pose_2d[:, pairs[:, 1]]
    vector, seen = (left - right)[..., :2], np.minimum(left, right)[..., 2] > 0  # (n, 3, 2), (n, 3)
    both = np.logical_and(seen[1:], seen[:-1])
    changes = np.linalg.norm([vector[1:] - vector[:-1], vector[1:] + vector[:-1]], axis=-1)
    same, other = np.where(both, changes, 0).sum(axis=-1) / np.maximum(both.sum(axis=1), 2)
    unit = np.maximum(_SIDES_SPEED * steps.seconds * steps.metre[1:], _UNUSUAL * _quantile(same, 0.5))
    return same / unit, other / unit


def _exchanged(same: np.ndarray, other: np.ndarray, steps: Steps) -> np.ndarray:
    """Return the exchanged rows (n,) bool for the costs (n - 1,) of steps without and with an exchange."""
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
    """Return the least cost of the sequences that end in each row (n, 2), without and with its sides exchanged."""
    costs = np.empty((len(per_row), 2))
    kept, turned = 0.0, 1 + float(per_row[0])
    costs[0] = kept, turned
    steps = zip(same.tolist(), (other + 1).tolist(), per_row[1:].tolist(), strict=True)
    for row, (stay, change, cost) in enumerate(steps, start=1):
        kept, turned = min(kept + stay, turned + change), min(turned + stay, kept + change) + cost
        costs[row] = kept, turned
    return costs
