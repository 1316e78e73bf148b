"""Scores of 3D motion on videos with marker truth; `model.scoring.real_video` defines and computes these scores."""

from collections.abc import Sequence
from typing import Any

from pydantic import Field

from data_contracts.labelled_scores import LabelledScores


class VideoScores(LabelledScores):
    """Scores of one clip, or means over clips; the suffix of a name is its unit.

    Scores of feet, floor and path are None for motion without a path, e.g. the detector's own 3D.
    """

    mpjpe_yaw_mm: float = Field(title="MPJPE, one yaw")
    mpjpe_rotation_mm: float = Field(title="MPJPE, one rotation")
    p_mpjpe_mm: float = Field(title="P-MPJPE")
    lean_deg: float = Field(title="lean, °")
    knee_deg: float = Field(title="knee, °")
    skating_mm_s: float | None = Field(None, title="skating, mm/s")
    penetration_mm: float | None = Field(None, title="below floor")
    ankle_height_mm: float | None = Field(None, title="ankle height")
    root_path_mm: float | None = Field(None, title="root path")

    def values(self) -> dict[str, float]:
        """Return name -> score, without `frames` and the scores that are None."""
        return {name: value for name, value in self.model_dump(exclude={"frames"}).items() if value is not None}

    def cells(self) -> list[str]:
        """Return the scores as the cells of a table row, in the order of `titles`."""
        return [f"{self.frames:,}", *(_cell(value) for value in self.model_dump(exclude={"frames"}).values())]


def mean_scores(clips: Sequence[VideoScores]) -> VideoScores:
    """Return the mean of each score over the clips that have it, and the sum of their frames."""
    scores: dict[str, Any] = {"frames": sum(clip.frames for clip in clips)}
    for name in VideoScores.model_fields.keys() - scores.keys():
        known = [clip.values()[name] for clip in clips if name in clip.values()]
        scores[name] = sum(known) / len(known) if known else None
    return VideoScores(**scores)


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"
