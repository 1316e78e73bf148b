"""Windows of a clip for tests and benchmarks."""

import numpy as np

from tasks.convert.cameras import Camera, angles_deg, cut_windows, empty_windows

ANGLES = ("yaw_deg", "pitch_deg", "roll_deg")


def project_windows(poses: np.ndarray, starts: np.ndarray, window: int, camera: Camera) -> dict[str, np.ndarray]:
    """Return windows of one clip (frames, 17, 3) that begin at `starts` (n,), projected by one camera.

    The arrays are `pose_2d` (n, window, 17, 3), `pose_3d` (n, window, 17, 3), `root_3d` (n, window, 3), `scale` (n,)
    and `ANGLES` (n,), as in the window contract.
    """
    arrays = empty_windows(len(starts), window)
    axes = cut_windows(camera.to_camera(poses), camera, starts, arrays)
    return arrays | angles_deg(axes)
