"""The model as MLflow serves it: models-from-code, so that loading it runs this file and unpickles nothing.

`predict` takes float32 (N, window, 17, 3): x right, y down, confidence, normalised as in the window contract; it
returns float32 (N, window, 17, 3): x right, y down, z forward, relative to the pelvis, in the input's own units.
Divided by the window's `scale` they are metres. The poses are those that evaluation scored: with `flip` in the
model's configuration they are averaged with those of the mirror image.

What is no window is refused by an `MlflowException`, which a scoring server answers with 400: another shape by the
signature, before `predict`, and here what only a number tells. NaN would come back as NaN, which is no JSON.
"""

from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import torch
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import PythonModel, PythonModelContext

from data_contracts.skeleton import JOINTS
from model.learning.checkpoints import load_network
from model.network.lifting import lift

BATCH = 256
LARGEST = 10.0  # a window's box is [-1, 1]; somebody's own crop may reach beyond it, pixels go far beyond


class ServedLifter(PythonModel):
    """A DSTformer checkpoint behind `predict`."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the weights."""
        self.flip = bool(context.model_config["flip"])
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.network = load_network(Path(context.artifacts["checkpoint"])).to(self.device)

    def predict(
        self,
        context: PythonModelContext,  # noqa: ARG002 - MLflow's signature
        model_input: np.ndarray,
        params: dict[str, Any] | None = None,  # noqa: ARG002 - MLflow's signature
    ) -> np.ndarray:
        """Lift windows (N, window, 17, 3).

        Raises
        ------
        MlflowException
            A number is NaN, infinite, or no normalised coordinate; names the first.
        """
        _must_be_normalised(model_input)
        pose_2d = torch.from_numpy(np.ascontiguousarray(model_input, dtype=np.float32))
        with torch.inference_mode():
            lifted = [lift(self.network, batch.to(self.device), self.flip).cpu() for batch in pose_2d.split(BATCH)]
        return torch.cat(lifted).numpy() if lifted else np.empty_like(model_input)


def _must_be_normalised(windows: np.ndarray) -> None:
    wrong = np.argwhere(~(np.abs(windows) <= LARGEST))  # NaN compares as false
    if len(wrong):
        window, frame, joint, axis = wrong[0]
        raise MlflowException.invalid_parameter_value(
            f"window {window}, frame {frame}, {JOINTS[joint]}: {('x', 'y', 'confidence')[axis]} is"
            f" {windows[tuple(wrong[0])]:g}, and {len(wrong) - 1} more such numbers. A window is x, y, the box of its"
            " joints mapped into [-1, 1], and confidence in [0, 1]; a joint that was not seen is 0, 0 with confidence 0"
        )


mlflow.models.set_model(ServedLifter())
