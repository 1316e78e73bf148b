"""The axes of animation: y up, x right; who looks at the camera looks along z. Right-handed, as the world is."""

import numpy as np


def y_up(points: np.ndarray) -> np.ndarray:
    """Points or directions (..., 3) of the world (z up) with y up: (x, z, -y), a turn by -90 degrees about x."""
    return np.stack([points[..., 0], points[..., 2], -points[..., 1]], axis=-1)
