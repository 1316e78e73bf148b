"""Serve a model with MLflow, as models-from-code: loading it runs this file and needs no pickle.

`predict` takes one array with four axes. The parameter `skeleton` selects the kind of input:

- Without `skeleton`: windows, float32 (N, window, 17, 3): x right, y down, confidence, normalised as in the window
  contract. The output is (N, window, 17, 3): x right, y down, z forward, relative to the pelvis, in the units of the
  input; divided by the window's `scale` it is in metres. Flip averaging follows the model configuration (`flip`), as in
  evaluation.
- With a detector skeleton (`coco17`, `body25`, ...): keypoints in pixels, (tracks, frames, K, 2 or 3) of any length: x
  right, y down, confidence. A missing keypoint is NaN (null in JSON) or has confidence 0. The output is (tracks,
  frames, 17, 3) metres, z up, as from `uplift lift`: relative to the pelvis or, with `root`, in the world. The
  parameters `fps`, `height` (of the subject, metres), `image_width`, `image_height` and `fov_deg` are optional; 0 means
  unknown.

Any other input raises an `MlflowException`, and a scoring server answers with status 400. A request has at most
`MAX_POSES` poses. MLflow parses the whole body before it calls `predict`; `tasks.serving.server` limits the body.
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
from model.lifting.lifter import load_lifter

BATCH = 256
MAX_NORMALISED = 10.0  # the box of a window is [-1, 1]; other crops are a little larger, pixels far larger
MAX_PIXELS = 1e5
MAX_METRES = 1e3  # limit of the motion contract
MAX_FPS = 1e3
MAX_POSES = 50_000  # per request, frames of all windows or tracks: 28 minutes of one subject at 30 fps
MAX_TRACKS = 200  # per request


class ServedLifter(PythonModel):
    """MLflow model that lifts with the network of a checkpoint."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the checkpoint to the GPU or, without a GPU, to the CPU."""
        lifter = load_lifter(Path(context.artifacts["checkpoint"]), bool(context.model_config["flip"]))
        self.lifter = lifter.to("cuda" if torch.cuda.is_available() else "cpu")

    def predict(
        self,
        context: PythonModelContext,  # noqa: ARG002 - MLflow's signature
        model_input: np.ndarray,
        params: dict[str, Any] | None = None,
    ) -> np.ndarray:
        """Lift windows (N, window, 17, 3) or, with `skeleton` in `params`, keypoints (tracks, frames, K, 2 or 3)."""
        params = params or {}
        if params.get("skeleton"):
            return self._lift_keypoints(model_input, params)
        _check_windows(model_input, self.lifter.window)
        pose_2d = torch.from_numpy(np.ascontiguousarray(model_input, dtype=np.float32))
        with torch.inference_mode():
            lifted = [self.lifter(batch.to(self.lifter.device)).cpu() for batch in pose_2d.split(BATCH)]
        return torch.cat(lifted).numpy()

    def _lift_keypoints(self, keypoints: np.ndarray, params: dict[str, Any]) -> np.ndarray:
        if params["skeleton"] not in {*Detector}:
            raise _invalid(f"unknown skeleton {str(params['skeleton'])[:30]!r}: pass one of {', '.join(Detector)}")
        name = Detector(params["skeleton"])
        _check_keypoints(keypoints, name)
        points = keypoints[..., :2].astype(np.float64)
        confidence = keypoints[..., 2].astype(np.float64) if keypoints.shape[-1] == 3 else np.ones(points.shape[:-1])
        joints, joint_confidence = SKELETONS[name].to_h36m(points, np.clip(np.nan_to_num(confidence), 0, 1))
        pose_2d = np.concatenate([joints, joint_confidence[..., None]], axis=-1).astype(np.float32)
        for track in np.flatnonzero(~(pose_2d[..., 2] > 0).any(axis=(1, 2)))[:1]:
            raise _invalid(
                f"track {track}: no keypoint is visible (all are null or have confidence 0): leave the track out"
            )
        limits = {"fps": MAX_FPS, "image_width": MAX_PIXELS, "image_height": MAX_PIXELS}
        fps, width, height = (_known(field, params.get(field) or None, most) for field, most in limits.items())
        interpolated = np.zeros(pose_2d.shape[1:3], bool)
        tracks = [Track(str(n), -1, 0, pose, interpolated, fps, width, height) for n, pose in enumerate(pose_2d)]
        options = {field: params[field] for field in ("height", "fov_deg") if params.get(field)}
        try:
            parameters = LiftParameters.model_validate(options)
        except ValidationError as error:
            first = error.errors()[0]
            raise _invalid(f"{first['loc'][0]}: {first['msg']}, got {first['input']}") from error
        motions = lift_people(self.lifter, tracks, parameters)
        poses = np.stack([motion.joints if params.get("root") else motion.pose_3d for motion in motions])
        for track in np.flatnonzero(~(np.abs(poses) < MAX_METRES).all(axis=(1, 2, 3)))[:1]:  # NaN compares as false
            raise _invalid(f"track {track}: cannot be lifted, because its keypoints do not form a body")
        return poses


def _check_keypoints(keypoints: np.ndarray, name: Detector) -> None:
    count = len(SKELETONS[name].keypoints)
    if keypoints.ndim != 4 or keypoints.shape[2] != count or keypoints.shape[3] not in (2, 3) or not keypoints.size:
        raise _invalid(
            f"keypoints have shape {keypoints.shape}; expected (tracks, frames, {count}, 3) of {name}: x, y in pixels,"
            " confidence in [0, 1]"
        )
    _check_count(keypoints)
    if len(keypoints) > MAX_TRACKS:
        raise _invalid(f"{len(keypoints):,} tracks; a request has at most {MAX_TRACKS}: send several requests")
    wrong = np.abs(keypoints) > MAX_PIXELS  # false for NaN, a missing keypoint
    if wrong.any():
        track, frame, keypoint, axis = first = np.unravel_index(wrong.argmax(), wrong.shape)
        raise _invalid(
            f"track {track}, frame {frame}, keypoint {keypoint}: {('x', 'y', 'confidence')[axis]} is"
            f" {keypoints[first]:g}; coordinates are pixels and at most {MAX_PIXELS:g}"
        )


def _check_count(poses: np.ndarray) -> None:
    count = poses.shape[0] * poses.shape[1]
    if count > MAX_POSES:
        raise _invalid(f"{count:,} poses; a request has at most {MAX_POSES:,}: send several requests")


def _known(name: str, value: Any, most: float) -> Any:
    """Return the value of parameter `name`, above 0 and at most `most`; None if the value is 0 (unknown)."""
    if value is not None and not 0 < value <= most:
        raise _invalid(f"{name}: must be above 0 and at most {most:g}, got {value}")
    return value


def _check_windows(windows: np.ndarray, frames: int) -> None:
    if windows.ndim != 4 or windows.shape[1:] != (frames, NUM_JOINTS, 3) or not len(windows):
        raise _invalid(
            f"windows have shape {windows.shape}; expected shape (-1, {frames}, {NUM_JOINTS}, 3). For keypoints in"
            f" pixels, of any length, pass the parameter skeleton: one of {', '.join(Detector)}"
        )
    _check_count(windows)
    wrong = ~(np.abs(windows) <= MAX_NORMALISED)  # NaN compares as false
    if wrong.any():
        window, frame, joint, axis = first = np.unravel_index(wrong.argmax(), wrong.shape)
        raise _invalid(
            f"window {window}, frame {frame}, {JOINTS[joint]}: {('x', 'y', 'confidence')[axis]} is"
            f" {windows[first]:g}, and {int(wrong.sum()) - 1} more numbers are out of bounds. In a window, x and y are"
            " scaled to [-1, 1] by the box of all joints, and confidence is in [0, 1]; a missing joint has x, y and"
            " confidence 0. For keypoints in pixels, pass the parameter skeleton"
        )


def _invalid(why: str) -> MlflowException:
    return MlflowException.invalid_parameter_value(why)


mlflow.models.set_model(ServedLifter())
