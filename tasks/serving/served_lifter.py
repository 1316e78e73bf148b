"""The model as MLflow serves it: models-from-code, so that loading it runs this file and unpickles nothing.

`predict` takes one array of four axes, and what it is of is said by the parameter `skeleton`:

- none: windows, float32 (N, window, 17, 3): x right, y down, confidence, normalised as in the window contract. Poses
  come back as (N, window, 17, 3): x right, y down, z forward, relative to the pelvis, in the input's own units; divided
  by the window's `scale` they are metres. They are the poses that evaluation scored: with `flip` in the model's
  configuration averaged with those of the mirror image;
- a detector's (`coco17`, `body25`, ...): keypoints in pixels, (tracks, frames, K, 2 or 3) of any length: x right, y
  down, confidence; what was not seen is NaN (null in JSON), or has confidence 0. Poses come back as (tracks, frames,
  17, 3) metres, z up, relative to the pelvis, or in the world (`root`), as `uplift lift` makes them. `fps`, `height`
  (of the person, metres), `image_width`, `image_height` and `fov_deg` are told where they are known; 0: not.

What is neither is refused by an `MlflowException`, which a scoring server answers with 400. A request has at most
`MOST_POSES` poses. MLflow parses the whole body before `predict` is called, so that only a proxy can bound the body.
"""

from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import torch
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import PythonModel, PythonModelContext
from pydantic import ValidationError

from data_contracts.detector_skeletons import SKELETONS, Detector
from data_contracts.parameters import LiftParameters
from data_contracts.skeleton import JOINTS, NUM_JOINTS
from data_contracts.tracks.track import Track
from model.lifting.lift import lift_people
from model.lifting.track_windows import Lifting
from model.network.lifting import lift
from model.training.checkpoints import load_network, read_about

BATCH = 256
LARGEST = 10.0  # a window's box is [-1, 1]; somebody's own crop may reach beyond it, pixels go far beyond
MOST_PIXELS = 1e5
MOST_METRES = 1e3  # as the motion contract has it
MOST_FPS = 1e3
MOST_POSES = 50_000  # of a request, frames of all windows or tracks: 28 minutes of one person at 30 fps
MOST_TRACKS = 200  # of a request


class ServedLifter(PythonModel):
    """A DSTformer checkpoint behind `predict`."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the weights."""
        checkpoint, flip = Path(context.artifacts["checkpoint"]), bool(context.model_config["flip"])
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        network = load_network(checkpoint).to(device)
        self.lifting = Lifting(network, int(context.model_config["window"]), read_about(checkpoint).get("fps"), flip)
        self.device = device

    def predict(
        self,
        context: PythonModelContext,  # noqa: ARG002 - MLflow's signature
        model_input: np.ndarray,
        params: dict[str, Any] | None = None,
    ) -> np.ndarray:
        """Lift windows (N, window, 17, 3), or keypoints (tracks, frames, K, 2 or 3) of the skeleton that is named.

        Raises
        ------
        MlflowException
            The shape or a number is not what is expected; names the first. Or a parameter is out of its bounds.
        """
        told = params or {}
        if told.get("skeleton"):
            return self._lift_keypoints(model_input, told)
        _must_be_windows(model_input, self.lifting.window)
        pose_2d = torch.from_numpy(np.ascontiguousarray(model_input, dtype=np.float32))
        network, flip = self.lifting.network, self.lifting.flip
        with torch.inference_mode():
            lifted = [lift(network, batch.to(self.device), flip).cpu() for batch in pose_2d.split(BATCH)]
        return torch.cat(lifted).numpy()

    def _lift_keypoints(self, keypoints: np.ndarray, told: dict[str, Any]) -> np.ndarray:
        name = _skeleton(str(told["skeleton"]))
        _must_be_keypoints(keypoints, name)
        points = keypoints[..., :2].astype(np.float64)
        confidence = keypoints[..., 2].astype(np.float64) if keypoints.shape[-1] == 3 else np.ones(points.shape[:-1])
        joints, seen = SKELETONS[name].to_h36m(points, np.clip(np.nan_to_num(confidence), 0, 1))
        pose_2d = np.concatenate([joints, seen[..., None]], axis=-1).astype(np.float32)
        size = {name: _pixels(f"image_{name}", told.get(f"image_{name}") or None) for name in ("width", "height")}
        _must_be_seen(pose_2d)
        fps, world = _frame_rate(told.get("fps") or None), bool(told.get("root"))
        never = np.zeros(pose_2d.shape[1:3], bool)
        tracks = [Track(str(n), -1, 0, pose, never, fps, **size) for n, pose in enumerate(pose_2d)]
        known = {"height": told.get("height") or None, "fov_deg": told.get("fov_deg") or 60.0, "root": world}
        try:
            parameters = LiftParameters.model_validate(known)
        except ValidationError as error:
            first = error.errors()[0]
            raise _refused(f"{first['loc'][0]}: {first['input']}: {first['msg']}") from error
        motions = lift_people(self.lifting, tracks, parameters)
        poses = np.stack([motion.joints if world else motion.pose_3d for motion in motions])
        for track in np.flatnonzero(~(np.abs(poses) < MOST_METRES).all(axis=(1, 2, 3)))[:1]:  # NaN compares as false
            raise _refused(f"track {track}: cannot be lifted: its keypoints are no body")
        return poses


def _skeleton(name: str) -> Detector:
    if name not in {*Detector}:
        raise _refused(f"skeleton {name[:30]!r}: these are known: {', '.join(Detector)}")
    return Detector(name)


def _must_be_keypoints(keypoints: np.ndarray, name: Detector) -> None:
    count = len(SKELETONS[name].keypoints)
    if keypoints.ndim != 4 or keypoints.shape[2] != count or keypoints.shape[3] not in (2, 3) or not keypoints.size:
        raise _refused(
            f"keypoints have shape {keypoints.shape}; expected (tracks, frames, {count}, 3) of {name}: x, y in pixels,"
            " confidence in [0, 1]"
        )
    _must_be_few(keypoints)
    if len(keypoints) > MOST_TRACKS:
        raise _refused(f"{len(keypoints):,} tracks; a request has at most {MOST_TRACKS}: send several requests")
    wrong = np.abs(keypoints) > MOST_PIXELS  # false for NaN, which is missing
    if wrong.any():
        track, frame, keypoint, axis = first = np.unravel_index(wrong.argmax(), wrong.shape)
        raise _refused(
            f"track {track}, frame {frame}, keypoint {keypoint}: {('x', 'y', 'confidence')[axis]} is"
            f" {keypoints[first]:g}; coordinates are pixels, up to {MOST_PIXELS:g}"
        )


def _must_be_few(poses: np.ndarray) -> None:
    count = poses.shape[0] * poses.shape[1]
    if count > MOST_POSES:
        raise _refused(f"{count:,} poses; a request has at most {MOST_POSES:,}: send several requests")


def _must_be_seen(pose_2d: np.ndarray) -> None:
    for track in np.flatnonzero(~(pose_2d[..., 2] > 0).any(axis=(1, 2)))[:1]:
        raise _refused(f"track {track}: nobody is seen: every keypoint is null, or has confidence 0")


def _frame_rate(fps: float | None) -> float | None:
    if fps is not None and not 0 < fps <= MOST_FPS:
        raise _refused(f"fps: {fps}: frames a second are more than 0 and at most {MOST_FPS:g}")
    return fps


def _pixels(name: str, length: int | None) -> int | None:
    if length is not None and not 0 < length <= MOST_PIXELS:
        raise _refused(f"{name}: {length}: an image has more than 0 and at most {MOST_PIXELS:g} pixels a side")
    return length


def _must_be_windows(windows: np.ndarray, frames: int) -> None:
    if windows.ndim != 4 or windows.shape[1:] != (frames, NUM_JOINTS, 3) or not len(windows):
        raise _refused(
            f"windows have shape {windows.shape}; expected shape (-1, {frames}, {NUM_JOINTS}, 3). Keypoints in pixels,"
            f" of any length, are lifted with the parameter skeleton: one of {', '.join(Detector)}"
        )
    _must_be_few(windows)
    wrong = ~(np.abs(windows) <= LARGEST)  # NaN compares as false
    if wrong.any():
        window, frame, joint, axis = first = np.unravel_index(wrong.argmax(), wrong.shape)
        raise _refused(
            f"window {window}, frame {frame}, {JOINTS[joint]}: {('x', 'y', 'confidence')[axis]} is"
            f" {windows[first]:g}, and {int(wrong.sum()) - 1} more such numbers. A window is x, y, the box of its"
            " joints mapped into [-1, 1], and confidence in [0, 1]; a joint that was not seen is 0, 0 with confidence"
            " 0. Keypoints in pixels are lifted with the parameter skeleton"
        )


def _refused(why: str) -> MlflowException:
    return MlflowException.invalid_parameter_value(why)


mlflow.models.set_model(ServedLifter())
