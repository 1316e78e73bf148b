"""Bounds of a motion: numpy reduces each motion to a row of numbers, pandera validates all rows at once."""

import numpy as np
import pandas as pd
import pandera.pandas as pa

from data_contracts.bounds import broken_checks
from data_contracts.motion.motion import Motion
from data_contracts.skeleton import BONES


class MotionSummary(pa.DataFrameModel):
    """One row of numbers per motion, and the bounds of these numbers."""

    motion: str
    frames: int = pa.Field(ge=1, description="Number of frames.")
    fps: float = pa.Field(gt=0, le=1000, description="Frames per second.")
    non_finite: int = pa.Field(eq=0, description="Number of non-finite values in pose, root and confidence.")
    pelvis_max: float = pa.Field(eq=0, description="Largest |x|, |y| or |z| of the pose's pelvis, metres.")
    bone_max: float = pa.Field(gt=0, le=1.5, description="Longest bone, metres.")
    reach_max: float = pa.Field(le=3, description="Farthest joint from the pelvis, metres.")
    root_max: float = pa.Field(le=1000, description="Largest |x|, |y| or |z| of the root, metres.")
    confidence_min: float = pa.Field(ge=0, description="Smallest confidence.")
    confidence_max: float = pa.Field(le=1, description="Largest confidence.")

    class Config:
        coerce = True


def find_faults(motions: list[Motion]) -> pd.DataFrame:
    """Return one row per failed check, with columns motion, check, value and bound; empty if all motions pass."""
    parents, children = np.array(BONES).T
    rows = [
        {
            "motion": motion.name,
            "frames": motion.frames,
            "fps": motion.fps,
            "non_finite": sum(
                int((~np.isfinite(array)).sum()) for array in (motion.pose_3d, motion.root, motion.confidence)
            ),
            "pelvis_max": np.abs(motion.pose_3d[:, 0]).max(),
            "bone_max": np.linalg.norm(motion.pose_3d[:, children] - motion.pose_3d[:, parents], axis=-1).max(),
            "reach_max": np.linalg.norm(motion.pose_3d, axis=-1).max(),
            "root_max": np.abs(motion.root).max(),
            "confidence_min": motion.confidence.min(),
            "confidence_max": motion.confidence.max(),
        }
        for motion in motions
    ]
    return broken_checks(MotionSummary, pd.DataFrame(rows), "motion")
