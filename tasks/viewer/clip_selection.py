"""The clips that tell most about a model: its worst, its median and its best, as scenes of the playing page.

A clip here is a clip as one camera saw it. Windows overlap: a frame's poses are the mean over the windows that cover
it, and its error the mean of their errors, as it is scored (`model.scoring.evaluation`).
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd
import torch

from model.data.loading import Windows
from model.network.lifting import Lifter
from model.scoring.metrics import mpjpe
from tasks.viewer.evaluation_viewer import Scene, Track

SECONDS, FRAMES = 10, 1200  # that are shown of a clip, at most: three clips of FRAMES make 1.4 MB


def telling_scenes(windows: Windows, errors: pd.DataFrame, lifter: Lifter, batch_size: int) -> list[Scene]:
    """Scenes of the worst, median and best clip by MPJPE, of those at least a window long; fewer where there are fewer.

    Parameters
    ----------
    errors
        `Evaluation.errors` of the model on `windows`, in their order.
    lifter
        The model.
    """
    rows = windows.rows.assign(**{name: errors[name] for name in ("frames", "weight", "mpjpe_mm")})
    return [
        _scene(name, mean_mm, _stretch(of_view, windows.window), windows, lifter, batch_size)
        for name, mean_mm, of_view in _telling_views(rows, windows.window)
    ]


def _telling_views(rows: pd.DataFrame, window: int) -> Iterator[tuple[str, float, pd.DataFrame]]:
    """Name, error of the whole clip in mm, and rows in order of time."""
    whole = rows[rows["frames"] == window]
    weighted = whole.assign(sum_mm=whole["mpjpe_mm"] * whole["weight"])
    sums = weighted.groupby(["clip_id", "camera"])[["sum_mm", "weight"]].sum()
    ranked = (sums["sum_mm"] / sums["weight"]).sort_values(ascending=False, kind="stable")
    names = {0: "worst", len(ranked) // 2: "median", len(ranked) - 1: "best"} if len(ranked) else {}
    for place, name in names.items():
        clip_id, camera = ranked.index[place]
        of_view = whole[(whole["clip_id"] == clip_id) & (whole["camera"] == camera)]
        yield name, float(ranked.iloc[place]), of_view.sort_values("start")


def _stretch(rows: pd.DataFrame, window: int) -> pd.DataFrame:
    """Of a clip's windows those of the stretch, short enough to be shown, whose error is nearest to the clip's own."""
    starts, error = rows["start"].to_numpy(), rows["mpjpe_mm"].to_numpy()
    longest = max(window, min(FRAMES, round(SECONDS * rows["fps"].iloc[0])))
    ends = np.searchsorted(starts, starts + longest - window, side="right")
    full = range(np.searchsorted(ends, len(starts)) + 1)  # stretches that begin later are shorter
    first = min(full, key=lambda first: abs(error[first : ends[first]].mean() - error.mean()))
    return rows.iloc[first : ends[first]]


def _scene(name: str, mean_mm: float, rows: pd.DataFrame, windows: Windows, lifter: Lifter, batch_size: int) -> Scene:
    places, start = rows.index.to_numpy(), int(rows["start"].iloc[0])
    frames = int(rows["start"].iloc[-1]) - start + windows.window
    blended = _Blend(frames)
    for some in np.split(places, range(batch_size, len(places), batch_size)):
        batch = windows.pick(some.tolist())
        metres = (1 / batch.scale).view(-1, 1, 1, 1)
        pred, true = lifter(batch.pose_2d) * metres, batch.pose_3d * metres
        image = batch.pose_2d[..., :2]
        image = (image - image[..., :1, :]) * metres  # windows have boxes of their own: what they share is the pelvis
        of_windows = {"pose_2d": image, "prediction": pred, "truth": true, "error_mm": 1000 * mpjpe(pred, true)}
        blended.add(windows.rows["start"].iloc[some].to_numpy() - start, of_windows)
    poses = {pose: _unpitched(blended.mean(pose), float(rows["pitch_deg"].iloc[0])) for pose in ("prediction", "truth")}
    track = Track(str(rows["group"].iloc[0]), blended.mean("pose_2d"), poses, blended.mean("error_mm"))
    clip = f"clip {rows['clip_id'].iloc[0]}, camera {rows['camera'].iloc[0]}, from frame {start}"
    title = f"{clip} · person {track.name} · {rows['action'].iloc[0]} · {mean_mm:.1f} mm over the whole clip"
    return Scene(name, title, float(rows["fps"].iloc[0]), [track])


class _Blend:
    """Arrays of overlapping windows, added up frame by frame; a frame that none covers has no mean: NaN."""

    def __init__(self, frames: int) -> None:
        self.frames = frames
        self.sums: dict[str, np.ndarray] = {}
        self.covering = np.zeros(frames)

    def add(self, starts: np.ndarray, arrays: dict[str, torch.Tensor]) -> None:
        """Windows (B, T, ...) that begin at `starts` (B,)."""
        window = next(iter(arrays.values())).shape[1]
        frame = starts[:, None] + np.arange(window)  # (B, T)
        np.add.at(self.covering, frame, 1)
        for name, array in arrays.items():
            sums = self.sums.setdefault(name, np.zeros((self.frames, *array.shape[2:])))
            np.add.at(sums, frame, array.double().numpy())

    def mean(self, name: str) -> np.ndarray:
        """(frames, ...) over the windows that cover each frame."""
        sums = self.sums[name]
        covering = self.covering.reshape(-1, *[1] * (sums.ndim - 1))
        return np.divide(sums, covering, out=np.full_like(sums, np.nan), where=covering > 0)


def _unpitched(pose: np.ndarray, pitch_deg: float) -> np.ndarray:
    """Poses (T, 17, 3) in the axes of a camera that looks down by `pitch_deg`, in those of one that looks level."""
    sin, cos = np.sin(np.deg2rad(pitch_deg)), np.cos(np.deg2rad(pitch_deg))
    x, y, z = np.moveaxis(pose, -1, 0)
    return np.stack([x, cos * y + sin * z, cos * z - sin * y], axis=-1)
