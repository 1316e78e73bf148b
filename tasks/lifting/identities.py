"""Find exchanged ids of people, phantoms and scene cuts in the tracks of a video."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from tasks.lifting.repairs import MOST_AWAY_S, median_step, pixels_per_metre

_EXCHANGE_SPEED = 2.5  # m/s, smallest speed of the median joint away from the person's own path
_UNUSUAL = 2.0  # smallest ratio of the speed above to its third quartile in the track, because steps contain noise
_SHORTEST_S = 1 / 40  # steps count as at least this long, because noise does not shrink with shorter steps
_FIT = 0.4  # largest distance to the other person's path, as a share of the distance to the own path
_MOST_GAP_S = 0.6  # longest time without a detection over which a path is extrapolated
_BACK = 4  # number of poses over which the velocity is measured


def with_ids_exchanged_back(
    frame: np.ndarray, person: np.ndarray, pose_2d: np.ndarray, fps: float
) -> tuple[np.ndarray, list[tuple[int, int, int]]]:
    """Return corrected ids (n,), and the first frame and both ids of each exchange.

    Two ids were exchanged if both people leave their own path at the same time and continue the path of the other. An
    id was taken over if one person leaves their own path and continues the path of a person whose track has ended. Rows
    are sorted by frame: `frame` and `person` (n,), `pose_2d` (n, 17, 3).
    """
    rows_of = {int(person[rows[0]]): rows for rows in rows_by(person, frame)}
    paths = _paths(frame, pose_2d, rows_of.values(), fps)
    result, exchanges = person.copy(), []
    pending = paths.is_jump.copy()
    jumps, lasts = np.flatnonzero(pending), np.sort([rows[-1] for rows in rows_of.values()])
    frames, last_frames, most = frame[jumps], frame[lasts], _MOST_GAP_S * fps
    is_gone = np.ones(len(frame), bool)  # for the last row of a track: nobody has continued the track's path

    def on_path_of(rows: np.ndarray, before: np.ndarray) -> np.ndarray:
        return _distance(frame, pose_2d, paths.velocity, rows, before) < _FIT * paths.away[rows]

    for row in jumps:
        others = jumps[slice(*np.searchsorted(frames, (frame[row], frame[row] + most)))]
        others = others[(frame[paths.before[others]] < frame[row]) & pending[others] & (person[others] != person[row])]
        gone = lasts[slice(*np.searchsorted(last_frames, (frame[row] - most, frame[row])))]
        gone = gone[is_gone[gone]]
        if not pending[row] or not len(others) + len(gone):
            continue
        back = on_path_of(others, np.full(len(others), paths.before[row]))
        others = others[back & on_path_of(np.full(len(others), row), paths.before[others])]
        gone = gone[on_path_of(np.full(len(gone), row), gone)]
        if not len(others) + len(gone):
            continue
        taken, is_mutual = int([*others, *gone][0]), len(others) > 0
        pair = int(result[row]), int(result[taken])
        for one, id_ in ((row, pair[1]), (taken, pair[0]))[: 1 + is_mutual]:
            rows = rows_of[int(person[one])]
            result[rows[np.searchsorted(rows, one) :]] = id_
        pending[taken] = is_gone[taken] = False
        exchanges.append((int(frame[row]), *pair))
    return result, exchanges


class _Paths(NamedTuple):
    """Paths of people, with one value per row (n,)."""

    before: np.ndarray  # the previous row of the same person, or -1
    velocity: np.ndarray  # (n, 2) over the last poses, pixels per frame
    away: np.ndarray  # distance from the extrapolated path of the same person, pixels
    is_jump: np.ndarray  # whether `away` exceeds the limit


def _paths(frame: np.ndarray, pose_2d: np.ndarray, people: Iterable[np.ndarray], fps: float) -> _Paths:
    """Return the paths; `people` has the rows of each person in the order of frames."""
    before, velocity, away = np.full(len(frame), -1), np.zeros((len(frame), 2)), np.zeros(len(frame))
    is_jump = np.zeros(len(frame), bool)
    for rows in people:
        first = rows[np.maximum(np.arange(len(rows)) - _BACK, 0)]
        velocity[rows] = _velocity(frame, pose_2d, first, rows)
        before[rows[1:]] = rows[:-1]
        away[rows[1:]] = _distance(frame, pose_2d, velocity, rows[1:], rows[:-1])
        seconds = np.diff(frame[rows], prepend=frame[rows[0]] - 1) / fps
        limit = np.maximum(np.sqrt(seconds / fps), _SHORTEST_S)  # the error of a path grows with the root of the time
        speeds = away[rows] / pixels_per_metre(pose_2d[rows]) / limit
        least = max(_EXCHANGE_SPEED, _UNUSUAL * float(np.quantile(speeds, 0.75)))
        is_jump[rows] = (speeds > least) & (seconds <= _MOST_GAP_S)
    return _Paths(before, velocity, away, is_jump)


def rows_by(link: np.ndarray, frame: np.ndarray) -> list[np.ndarray]:
    """Return the rows of each id in `link` (n,), in the order of their frames `frame` (n,)."""
    order = np.lexsort((frame, link))
    return np.split(order, np.flatnonzero(np.diff(link[order])) + 1) if len(order) else []


def with_phantoms(frame: np.ndarray, link: np.ndarray, fps: float) -> tuple[np.ndarray, np.ndarray]:
    """Return track numbers (n,), and which rows (n,) are phantoms: short tracks that exactly fill a gap of one track.

    A phantom gets the number of the track with the gap.
    """
    tracks = rows_by(link, frame)
    of_gap: dict[tuple[int, int], int] = {}
    for number, rows in enumerate(tracks):
        frames = frame[rows]
        for place in np.flatnonzero(np.diff(frames) > 1):
            gap = int(frames[place]) + 1, int(frames[place + 1]) - 1
            of_gap[gap] = -1 if gap in of_gap else number
    result, phantom = link.copy(), np.zeros(len(link), bool)
    for rows in tracks:
        ends = int(frame[rows[0]]), int(frame[rows[-1]])
        owner = of_gap.get(ends, -1)
        if owner >= 0 and ends[1] - ends[0] < MOST_AWAY_S * fps:
            result[rows], phantom[rows] = link[tracks[owner][0]], True
    return result, phantom


def scene_cuts(frame: np.ndarray, pieces: Sequence[np.ndarray], fps: float) -> np.ndarray:
    """Return the frames (k,) of scene cuts: a track begins, and more tracks end in the frame before than continue.

    `pieces` has the rows of each track. Tracks as short as phantoms are ignored.
    """
    ends = [
        (frame[rows[0]], frame[rows[-1]]) for rows in pieces if frame[rows[-1]] - frame[rows[0]] > MOST_AWAY_S * fps
    ]
    if not ends:
        return np.empty(0, np.int64)
    first, last = np.sort(np.array(ends).T, axis=1)
    cuts = np.intersect1d(first, last + 1)
    ended = np.searchsorted(last, cuts - 1, side="right") - np.searchsorted(last, cuts - 1)
    continued = np.searchsorted(first, cuts) - np.searchsorted(last, cuts)
    return np.asarray(cuts[ended > continued])


def _velocity(frame: np.ndarray, pose_2d: np.ndarray, first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Return the mean velocities (m, 2) from rows `first` (m,) to rows `last` (m,), in pixels per frame."""
    both = (pose_2d[first, :, 2:] > 0) & (pose_2d[last, :, 2:] > 0)
    mean = (both * (pose_2d[last] - pose_2d[first])[..., :2]).sum(axis=1) / np.maximum(both.sum(axis=1), 1)
    return np.asarray(mean / np.maximum(frame[last] - frame[first], 1)[:, None])


def _distance(
    frame: np.ndarray, pose_2d: np.ndarray, velocity: np.ndarray, after: np.ndarray, before: np.ndarray
) -> np.ndarray:
    """Return the distances (m,) of rows `after` from rows `before` that were moved by `velocity` (n, 2)."""
    expected = pose_2d[before]
    expected[..., :2] += (velocity[before] * (frame[after] - frame[before])[:, None])[:, None]
    return median_step(expected, pose_2d[after])
