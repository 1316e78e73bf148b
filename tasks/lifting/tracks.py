"""Link people in frames to tracks, and interpolate short gaps.

- Without ids, the people of a frame are assigned to open tracks with the least total cost
  (`scipy.optimize.linear_sum_assignment`). The cost is the mean distance of the person's joints from the track's last
  pose, moved by the track's velocity. The mean is over common joints, weighted by confidence, and divided by the larger
  diagonal of both boxes. A pair with a cost above `MOST_COST` is two different people.
- A person or joint that is missing for at most `max_gap` frames is interpolated linearly and marked. It gets the lower
  confidence of the two ends. After a longer gap a new track begins.
- Missing joints at the beginning or end of a track stay missing, because filling them would be extrapolation.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from data_contracts.detector_skeletons import SKELETONS, Detector
from data_contracts.errors import InputError
from data_contracts.parameters import KeypointsParameters
from data_contracts.skeleton import NUM_JOINTS
from data_contracts.tracks.track import DEFAULT_FPS, Repairs, Track
from tasks.lifting.formats.detections import Detections
from tasks.lifting.identities import rows_by, scene_cuts, with_ids_exchanged_back, with_phantoms
from tasks.lifting.repairs import exchanged_sides, jumping_joints, jumps_of, steps_of, visible_exchanges, with_sides

MOST_COST = 0.4  # share of the diagonal of a person's box
MOST_FRAMES = 2_000_000  # all tracks together, with interpolated frames: 18 hours at 30 fps
_NO_JOINT = "no joint has all its keypoints in any frame; check keypoints.skeleton and keypoints.min_confidence"
_VELOCITY_SHARE = 0.5  # share of the last step that is used, because the noise of two frames is in it


def long_and_short(
    source: str | Path, videos: Sequence[Detections], parameters: KeypointsParameters
) -> tuple[list[Track], list[Track]]:
    """Return the tracks of videos (`tracks_of`) with at least `parameters.min_frames` frames, and the shorter ones.

    Raises
    ------
    InputError
        No track has enough frames; `source` is the name in the message.
    """
    tracks = [track for video in videos for track in tracks_of(video, parameters.max_gap)]
    short = [track for track in tracks if len(track.pose_2d) < parameters.min_frames]
    tracks = [track for track in tracks if len(track.pose_2d) >= parameters.min_frames]
    if not tracks:
        longest = max((len(track.pose_2d) for track in short), default=0)
        if not longest:
            raise InputError(f"{source}: {_NO_JOINT}")
        raise InputError(
            f"{source}: no track has {parameters.min_frames} frames, the longest has {longest};"
            f" pass --set keypoints.min_frames={longest} or a larger keypoints.max_gap"
        )
    return tracks, short


def whole_track(detections: Detections, max_gap: int) -> Track:
    """Return all frames of one person as one repaired track (row n is frame n); raise an InputError without joints."""
    joints, confidence = SKELETONS[_skeleton(detections)].to_h36m(detections.points, detections.confidence)
    pose_2d = np.concatenate([joints, confidence[..., None]], axis=-1)
    rows = np.flatnonzero((confidence > 0).any(axis=1))
    if not len(rows):
        raise InputError(f"{detections.source}: {_NO_JOINT}")
    repaired, repairs = _repaired(rows, pose_2d[rows], detections.fps or DEFAULT_FPS, Repairs())
    around = (int(rows[0]), len(joints) - 1 - int(rows[-1]))
    filled, interpolated = fill(rows, repaired, max_gap)
    filled, interpolated = np.pad(filled, (around, (0, 0), (0, 0))), np.pad(interpolated, (around, (0, 0)))
    known = detections.fps, detections.width, detections.height
    return Track(detections.video, -1, 0, filled, interpolated, *known, repairs)


def tracks_of(detections: Detections, max_gap: int) -> list[Track]:
    """Return the repaired tracks in normalised detections, by first frame; InputError beyond `MOST_FRAMES` frames."""
    joints, confidence = SKELETONS[_skeleton(detections)].to_h36m(detections.points, detections.confidence)
    seen = (confidence > 0).any(axis=1)
    if not seen.any():
        return []
    frame, joints, confidence = detections.frame[seen], joints[seen], confidence[seen]
    fps = detections.fps or DEFAULT_FPS
    pose_2d = np.concatenate([joints, confidence[..., None]], axis=-1)
    exchanges: list[tuple[int, int, int]] = []
    if detections.person is None:
        link, phantom = with_phantoms(frame, associate(frame, joints, confidence, max_gap), fps)
    else:
        link, exchanges = with_ids_exchanged_back(frame, detections.person[seen], pose_2d, fps)
        phantom = np.zeros(len(frame), bool)
    pieces = [piece for rows in rows_by(link, frame) for piece in _pieces(rows, frame, pose_2d, phantom, fps, max_gap)]
    cuts = scene_cuts(frame, [piece.rows for piece in pieces], fps)
    tracks = []
    frames_left = MOST_FRAMES
    for rows, repairs in (part for piece in pieces for part in _between(piece, frame, cuts)):
        first, last = int(frame[rows[0]]), int(frame[rows[-1]])
        frames_left -= last - first + 1
        if frames_left < 0:
            raise InputError(
                f"{detections.source}: tracks have more than {MOST_FRAMES} frames; cut the file into parts"
            )
        id_ = -1 if detections.person is None else int(link[rows[0]])
        of_ids = tuple(at for at, *pair in exchanges if id_ in pair and first <= at <= last)
        repaired, repairs = _repaired(frame[rows], pose_2d[rows], fps, replace(repairs, exchanged_ids=of_ids))
        filled, interpolated = fill(frame[rows], repaired, max_gap)
        known = detections.fps, detections.width, detections.height
        tracks.append(Track(detections.video, id_, first, filled, interpolated, *known, repairs))
    return sorted(tracks, key=lambda track: track.first_frame)


def _skeleton(detections: Detections) -> Detector:
    assert detections.skeleton is not None, "normalised detections have a skeleton"
    return detections.skeleton


class _Piece(NamedTuple):
    """Rows of (a part of) one person in the order of frames, and their repairs."""

    rows: np.ndarray
    repairs: Repairs


def _pieces(
    rows: np.ndarray, frame: np.ndarray, pose_2d: np.ndarray, phantom: np.ndarray, fps: float, max_gap: int
) -> Iterator[_Piece]:
    """Yield the rows of a person without phantoms, cut at gaps of more than `max_gap` frames and at jumps.

    `phantom` (n,) bool is true for known phantoms.
    """
    real = rows[~phantom[rows]]
    jumping, after_jump = jumps_of(pose_2d[real], steps_of(frame[real], pose_2d[real], fps))
    kept = real[~jumping]
    gone = frame[[*rows[phantom[rows]], *real[jumping]]]
    is_jump = np.isin(kept, real[after_jump])
    starts = np.flatnonzero((np.diff(frame[kept], prepend=frame[kept[0]]) > max_gap + 1) | is_jump)
    pieces = np.split(kept, starts)
    owner = np.searchsorted([frame[piece[-1]] for piece in pieces], gone)
    counts = np.bincount(owner, minlength=len(pieces))
    for place, (piece, count) in enumerate(zip(pieces, counts, strict=True)):
        begins_with = "jump" if place and is_jump[starts[place - 1]] else ""
        yield _Piece(piece, Repairs(phantom_frames=int(count), begins_with=begins_with))


def _between(piece: _Piece, frame: np.ndarray, cuts: np.ndarray) -> Iterator[_Piece]:
    """Yield the parts of a piece between scene cuts; the first part has the repairs of the piece."""
    frames = frame[piece.rows]
    inside = cuts[np.searchsorted(cuts, frames[0]) : np.searchsorted(cuts, frames[-1], side="right")]
    parts = np.split(piece.rows, np.searchsorted(frames, inside))
    if len(inside) and inside[0] == frames[0]:
        parts = parts[1:]
        yield _Piece(parts[0], replace(piece.repairs, begins_with="scene cut"))
    else:
        yield _Piece(parts[0], piece.repairs)
    yield from (_Piece(part, Repairs(begins_with="scene cut")) for part in parts[1:])


def _repaired(frame: np.ndarray, pose_2d: np.ndarray, fps: float, repairs: Repairs) -> tuple[np.ndarray, Repairs]:
    """Return poses (n, 17, 3) with sides exchanged back and jumping joints set to 0, and `repairs` with both added."""
    steps = steps_of(frame, pose_2d, fps)
    exchanged = exchanged_sides(pose_2d, steps)
    pose_2d = with_sides(pose_2d, exchanged)
    jumping = jumping_joints(pose_2d, steps)
    repairs = replace(
        repairs,
        jumping_joints=int(jumping.sum()),
        exchanged_legs=int(exchanged["legs"].sum()),
        exchanged_arms=int(exchanged["arms"].sum()),
        unclear_sides=tuple(frame[visible_exchanges(pose_2d, steps)].tolist()),
    )
    return np.where(jumping[..., None], 0.0, pose_2d), repairs


def associate(frame: np.ndarray, joints: np.ndarray, confidence: np.ndarray, max_gap: int) -> np.ndarray:
    """Return the track number (n,) of each person with joints (n, 17, 2); rows are in the order of frames."""
    link = np.empty(len(frame), np.int64)
    size = _extent(joints, confidence)
    starts = np.flatnonzero(np.diff(frame, prepend=frame[:1] - 1))
    open_tracks: list[_OpenTrack] = []
    count = 0
    for start, end in zip(starts, [*starts[1:], len(frame)], strict=True):
        now = int(frame[start])
        open_tracks = [track for track in open_tracks if now - track.frame <= max_gap + 1]
        assigned: dict[int, _OpenTrack] = {}
        if open_tracks:
            cost = _cost(open_tracks, now, joints[start:end], confidence[start:end], size[start:end])
            pairs = zip(*linear_sum_assignment(cost), strict=True)
            assigned = {int(row): open_tracks[track] for track, row in pairs if cost[track, row] <= MOST_COST}
        for place in range(end - start):
            row = start + place
            track = assigned.get(place)
            if track is None:
                track = _OpenTrack(count)
                count += 1
                open_tracks.append(track)
            track.append(now, joints[row], confidence[row], float(size[row]))
            link[row] = track.number
    return link


class _OpenTrack:
    """A track that may continue: its last pose and its velocity."""

    def __init__(self, number: int) -> None:
        self.number, self.frame, self.size = number, -1, 0.0
        self.joints, self.confidence = np.zeros((NUM_JOINTS, 2)), np.zeros(NUM_JOINTS)
        self.velocity = np.zeros(2)  # pixels per frame

    def append(self, frame: int, joints: np.ndarray, confidence: np.ndarray, size: float) -> None:
        both = (self.confidence > 0) & (confidence > 0)
        if both.any():
            step = (joints[both] - self.joints[both]).mean(axis=0) / (frame - self.frame)
            # A jump sets no velocity, otherwise the jump back would cost too much.
            is_jump = np.hypot(*step) * (1 + _VELOCITY_SHARE) > MOST_COST * size
            self.velocity = np.zeros(2) if is_jump else _VELOCITY_SHARE * step
        self.frame, self.joints, self.confidence, self.size = frame, joints, confidence, size


def _cost(
    tracks: list[_OpenTrack], now: int, joints: np.ndarray, confidence: np.ndarray, size: np.ndarray
) -> np.ndarray:
    """Return the costs (tracks, people) of the module docstring; 10 times `MOST_COST` without a common joint."""
    moved = np.stack([track.joints + track.velocity * min(now - track.frame, 5) for track in tracks])
    weight = np.sqrt(np.stack([track.confidence for track in tracks])[:, None] * confidence[None])
    distance = np.linalg.norm(moved[:, None] - joints[None], axis=-1)
    larger = np.maximum(np.array([track.size for track in tracks])[:, None], size[None])
    total = weight.sum(axis=-1)
    mean = (distance * weight).sum(axis=-1) / np.where(total > 0, total, 1)
    return np.where((total > 0) & (larger > 0), mean / np.where(larger > 0, larger, 1), 10 * MOST_COST)


def _extent(points: np.ndarray, confidence: np.ndarray) -> np.ndarray:
    """Return the diagonal (n,) of the box around the detected points (n, K, 2); 0 without a detected point."""
    seen = confidence[..., None] > 0
    low = np.where(seen, points, np.inf).min(axis=1)
    high = np.where(seen, points, -np.inf).max(axis=1)
    box = np.where(np.isfinite(low), high - low, 0.0)
    return np.asarray(np.hypot(box[:, 0], box[:, 1]))


def fill(frame: np.ndarray, pose_2d: np.ndarray, max_gap: int) -> tuple[np.ndarray, np.ndarray]:
    """Return one person in consecutive frames (frames, 17, 3), and which joints (frames, 17) are interpolated.

    `frame` (n,) has increasing frame numbers; `pose_2d` (n, 17, 3) is x, y, confidence, 0 if missing.
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
