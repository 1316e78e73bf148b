"""Select the clips with the largest, the median and the smallest error as scenes of the viewer, ranked per camera.

Windows overlap: poses and error of a frame are means over the windows that cover it (`model.scoring.evaluation`).
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd
import torch

from model.data.augmentation import rotation_matrix
from model.data.loading import Windows
from model.scoring.evaluation import Method
from model.scoring.metrics import mpjpe
from tasks.viewer.evaluation_viewer import Scene, Subject

MAX_SECONDS, MAX_FRAMES = 10, 1200  # of a clip in the viewer; three clips of 1200 frames take 1.4 MB


def select_scenes(windows: Windows, errors: pd.DataFrame, method: Method, batch_size: int) -> list[Scene]:
    """Return scenes of the worst, the median and the best clip by MPJPE, among clips at least one window long.

    `errors` is `Evaluation.errors` of `method` on `windows`, in the same order.
    """
    rows = windows.rows.assign(**{name: errors[name] for name in ("frames", "weight", "mpjpe_mm")})
    return [
        _scene(name, mean_mm, _typical_section(clip, windows.window), windows, method, batch_size)
        for name, mean_mm, clip in _ranked_clips(rows, windows.window)
    ]


def _ranked_clips(rows: pd.DataFrame, window: int) -> Iterator[tuple[str, float, pd.DataFrame]]:
    """Yield rank, error in mm, and rows (in order of time) of each selected clip."""
    full = rows[rows["frames"] == window]  # a window with fewer frames is padded: its clip is too short
    weighted = full.assign(sum_mm=full["mpjpe_mm"] * full["weight"])
    sums = weighted.groupby(["clip_id", "camera"])[["sum_mm", "weight"]].sum()
    ranked = (sums["sum_mm"] / sums["weight"]).sort_values(ascending=False, kind="stable")
    names = {0: "worst", len(ranked) // 2: "median", len(ranked) - 1: "best"} if len(ranked) else {}
    for place, name in names.items():
        clip_id, camera = ranked.index[place]
        clip = full[(full["clip_id"] == clip_id) & (full["camera"] == camera)]
        yield name, float(ranked.iloc[place]), clip.sort_values("start")


def _typical_section(rows: pd.DataFrame, window: int) -> pd.DataFrame:
    """Return the windows of the section (at most `MAX_SECONDS`) whose error is nearest to the error of the clip."""
    starts, error = rows["start"].to_numpy(), rows["mpjpe_mm"].to_numpy()
    longest = max(window, min(MAX_FRAMES, round(MAX_SECONDS * rows["fps"].iloc[0])))
    ends = np.searchsorted(starts, starts + longest - window, side="right")
    full = range(np.searchsorted(ends, len(starts)) + 1)  # sections that start later are shorter
    first = min(full, key=lambda first: abs(error[first : ends[first]].mean() - error.mean()))
    return rows.iloc[first : ends[first]]


def _scene(name: str, mean_mm: float, rows: pd.DataFrame, windows: Windows, method: Method, batch_size: int) -> Scene:
    places, starts = rows.index.to_numpy(), rows["start"].to_numpy()
    values: dict[str, list[np.ndarray]] = {}
    axes = _to_level_camera(rows)
    for chunk, turn in zip(
        np.split(places, range(batch_size, len(places), batch_size)), axes.split(batch_size), strict=True
    ):
        batch = windows.pick(chunk.tolist())
        metres = (1 / batch.scale).view(-1, 1, 1, 1)
        pred, true = method(batch.pose_2d) * metres, batch.pose_3d * metres
        image = batch.pose_2d[..., :2]
        image = (image - image[..., :1, :]) * metres  # relative to the pelvis, because each window has its own box
        error_mm, pred, true = 1000 * mpjpe(pred, true), pred @ turn[:, None], true @ turn[:, None]
        arrays = {"pose_2d": image, "prediction": pred, "truth": true, "error_mm": error_mm}
        for kind, array in arrays.items():
            values.setdefault(kind, []).append(array.double().numpy())
    means = {kind: _frame_means(np.concatenate(parts), starts - starts[0]) for kind, parts in values.items()}
    poses = {pose: means[pose] for pose in ("prediction", "truth")}
    subject = Subject(str(rows["group"].iloc[0]), means["pose_2d"], poses, means["error_mm"])
    clip = f"clip {rows['clip_id'].iloc[0]}, camera {rows['camera'].iloc[0]}, from frame {starts[0]}"
    title = f"{clip} · subject {subject.name} · {rows['action'].iloc[0]} · {mean_mm:.1f} mm over the whole clip"
    return Scene(name, title, float(rows["fps"].iloc[0]), [subject])


def _frame_means(values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Return the mean (frames, ...) of windows (n, T, ...) per frame; NaN for a frame without a window."""
    frame = starts[:, None] + np.arange(values.shape[1])  # (n, T)
    covering = np.bincount(frame.ravel())
    sums = np.zeros((len(covering), *values.shape[2:]))
    np.add.at(sums, frame, values)
    covering = covering.reshape(-1, *[1] * (sums.ndim - 1))
    return np.divide(sums, covering, out=np.full_like(sums, np.nan), where=covering > 0)


def _to_level_camera(rows: pd.DataFrame) -> torch.Tensor:
    """Return matrices (n, 3, 3) that turn row vectors to the axes of a level camera with the first window's yaw."""
    angles = rows[["yaw_deg", "pitch_deg", "roll_deg"]].to_numpy(dtype=np.float32, copy=True)  # torch must own it
    yaw, pitch, roll = torch.from_numpy(angles).deg2rad().unbind(1)
    level = torch.zeros(1)
    return rotation_matrix(yaw - yaw[0], pitch, roll) @ rotation_matrix(level, level, level).mT
