"""Convert world axes to the axes of animation: y up, x right, z towards the camera; both are right-handed."""

import numpy as np


def y_up(points: np.ndarray) -> np.ndarray:
    """Return points or directions (..., 3) of the world with y up: (x, z, -y), a turn by -90 degrees about x."""
    return np.stack([points[..., 0], points[..., 2], -points[..., 1]], axis=-1)
