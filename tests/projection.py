"""Windows of a clip for tests and benchmarks."""

import numpy as np

from tasks.convert.cameras import Camera, cut_windows, empty_windows, project_clip


def project_windows(poses: np.ndarray, starts: np.ndarray, window: int, camera: Camera) -> dict[str, np.ndarray]:
    """Return windows of one clip (frames, 17, 3) that begin at `starts` (n,), projected by one camera.

    The arrays are `pose_2d` (n, window, 17, 3), `pose_3d` (n, window, 17, 3), `root_3d` (n, window, 3) and `scale`
    (n,), float32, as in the window contract.
    """
    arrays = empty_windows(len(starts), window)
    cut_windows(project_clip(poses, camera), starts, arrays)
    return arrays
