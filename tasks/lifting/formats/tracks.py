"""From people in frames to tracks: who is who where the file does not say, gaps, and what is too short.

Notable decisions:
- without ids, people of a frame go to the tracks that are open by the least total cost
  (`scipy.optimize.linear_sum_assignment`). A cost is the mean distance of the joints that both have, weighted by
  confidence, to where the track's last pose is by now if it keeps its velocity, as a share of the larger one's extent;
  above `MOST_COST` they are two people;
- a person or joint that is unseen for up to `max_gap` frames is interpolated on a line, with the lesser confidence of
  both ends, and marked. Nobody is followed over more: there the track ends, and what comes later is another one;
- nothing is put where a track begins or ends: that would be extrapolation.
"""

from collections.abc import Iterator

import numpy as np
from scipy.optimize import linear_sum_assignment

from data_contracts.detector_skeletons import SKELETONS
from data_contracts.errors import InputError
from data_contracts.skeleton import NUM_JOINTS
from data_contracts.tracks.track import Track
from tasks.lifting.formats.detections import Detections, extent

MOST_COST = 0.4  # of the diagonal of a person's box
MOST_FRAMES = 2_000_000  # of all tracks, with those interpolated: 18 hours at 30 fps
_BELIEVED_VELOCITY = 0.5  # of the last step: it is measured on two noisy frames


def tracks_of(detections: Detections, max_gap: int) -> list[Track]:
    """The tracks of one video, in the order of their first frames, whatever their length.

    Parameters
    ----------
    detections
        Settled: in pixels, with a skeleton, rows in the order of frames.
    max_gap
        Frames without a person that are interpolated.
    """
    assert detections.skeleton is not None, "it is settled"
    skeleton = SKELETONS[detections.skeleton]
    joints, confidence = skeleton.to_h36m(detections.points, detections.confidence)
    there = (confidence > 0).any(axis=1)
    if not there.any():
        return []
    frame, joints, confidence = detections.frame[there], joints[there], confidence[there]
    person = None if detections.person is None else detections.person[there]
    link = associate(frame, joints, confidence, max_gap) if person is None else person
    pose_2d = np.concatenate([joints, confidence[..., None]], axis=-1)
    tracks = []
    left = MOST_FRAMES
    for rows in _pieces(frame, link, max_gap):
        left -= int(frame[rows[-1]] - frame[rows[0]]) + 1
        if left < 0:
            raise InputError(f"{detections.source}: its tracks have more than {MOST_FRAMES} frames; cut it into parts")
        filled, interpolated = fill(frame[rows], pose_2d[rows], max_gap)
        whose = -1 if person is None else int(person[rows[0]])
        known = {"fps": detections.fps, "width": detections.width, "height": detections.height}
        tracks.append(Track(detections.video, whose, int(frame[rows[0]]), filled, interpolated, **known))  # type: ignore[arg-type]
    return sorted(tracks, key=lambda track: track.first_frame)


def associate(frame: np.ndarray, joints: np.ndarray, confidence: np.ndarray, max_gap: int) -> np.ndarray:
    """(n,) numbers of tracks for (n, 17, 2) joints of people, rows in the order of frames."""
    link = np.empty(len(frame), np.int64)
    size = extent(joints, confidence)
    starts = np.flatnonzero(np.diff(frame, prepend=frame[:1] - 1))
    open_tracks: list[_Open] = []
    made = 0
    for start, end in zip(starts, [*starts[1:], len(frame)], strict=True):
        now = int(frame[start])
        open_tracks = [track for track in open_tracks if now - track.frame <= max_gap + 1]
        of_row: dict[int, _Open] = {}
        if open_tracks:
            cost = _cost(open_tracks, now, joints[start:end], confidence[start:end], size[start:end])
            chosen = zip(*linear_sum_assignment(cost), strict=True)
            of_row = {int(row): open_tracks[track] for track, row in chosen if cost[track, row] <= MOST_COST}
        for place in range(end - start):
            row = start + place
            track = of_row.get(place)
            if track is None:
                track = _Open(made)
                made += 1
                open_tracks.append(track)
            track.see(now, joints[row], confidence[row], float(size[row]))
            link[row] = track.number
    return link


class _Open:
    """A track that may go on: its last pose, and how it moves."""

    def __init__(self, number: int) -> None:
        self.number, self.frame, self.size = number, -1, 0.0
        self.joints, self.confidence = np.zeros((NUM_JOINTS, 2)), np.zeros(NUM_JOINTS)
        self.velocity = np.zeros(2)  # pixels a frame

    def see(self, frame: int, joints: np.ndarray, confidence: np.ndarray, size: float) -> None:
        both = (self.confidence > 0) & (confidence > 0)
        if both.any():
            step = (joints[both] - self.joints[both]).mean(axis=0) / (frame - self.frame)
            self.velocity = _BELIEVED_VELOCITY * step
        self.frame, self.joints, self.confidence, self.size = frame, joints, confidence, size


def _cost(tracks: list[_Open], now: int, joints: np.ndarray, confidence: np.ndarray, size: np.ndarray) -> np.ndarray:
    """(tracks, people): shares of a person's extent; beyond all that is allowed where no joint is in both."""
    moved = np.stack([track.joints + track.velocity * min(now - track.frame, 5) for track in tracks])
    weight = np.sqrt(np.stack([track.confidence for track in tracks])[:, None] * confidence[None])
    distance = np.linalg.norm(moved[:, None] - joints[None], axis=-1)
    larger = np.maximum(np.array([track.size for track in tracks])[:, None], size[None])
    total = weight.sum(axis=-1)
    mean = (distance * weight).sum(axis=-1) / np.where(total > 0, total, 1)
    return np.where((total > 0) & (larger > 0), mean / np.where(larger > 0, larger, 1), 10 * MOST_COST)


def _pieces(frame: np.ndarray, link: np.ndarray, max_gap: int) -> Iterator[np.ndarray]:
    """Rows of each track, cut where it has a gap of more than `max_gap` frames."""
    order = np.lexsort((frame, link))
    is_cut = (np.diff(link[order]) != 0) | (np.diff(frame[order]) > max_gap + 1)
    yield from (rows for rows in np.split(order, np.flatnonzero(is_cut) + 1) if len(rows))


def fill(frame: np.ndarray, pose_2d: np.ndarray, max_gap: int) -> tuple[np.ndarray, np.ndarray]:
    """One person's frames without gaps.

    Parameters
    ----------
    frame
        (n,) rising numbers.
    pose_2d
        (n, 17, 3): x, y, confidence; 0 where missing.

    Returns
    -------
    (pose_2d, interpolated)
        (frames, 17, 3) float32, from the first number to the last, and (frames, 17) bool: what was interpolated, as
        a joint is that is missing in up to `max_gap` frames and seen before and after.
    """
    count = int(frame[-1] - frame[0]) + 1
    filled = np.zeros((count, NUM_JOINTS, 3))
    filled[frame - frame[0]] = pose_2d
    seen = filled[..., 2] > 0
    at = np.arange(count)[:, None]
    before = np.maximum.accumulate(np.where(seen, at, -1), axis=0)
    after = np.minimum.accumulate(np.where(seen, at, count)[::-1], axis=0)[::-1]
    interpolated = ~seen & (before >= 0) & (after < count) & (after - before - 1 <= max_gap)
    row, joint = np.nonzero(interpolated)
    low, high = before[row, joint], after[row, joint]
    share = ((row - low) / (high - low))[:, None]
    ends = filled[low, joint], filled[high, joint]
    values = (1 - share) * ends[0] + share * ends[1]
    values[:, 2] = np.minimum(ends[0][:, 2], ends[1][:, 2])
    filled[row, joint] = values
    return filled.astype(np.float32), interpolated
