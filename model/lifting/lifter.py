"""The lifter: a network, the windows that it takes, and flip averaging."""

from pathlib import Path

import torch
from torch import Tensor, nn

from data_contracts.errors import InputError
from model.poses import mirror, root_relative
from model.training.checkpoints import load_network, read_about


class Lifter(nn.Module):
    """Lift 2D windows; evaluation, lifting, serving and ONNX export all run this module.

    `network` has a 3D output and is set to evaluation mode. `window` is the number of frames of a window. `fps` is the
    frame rate, or None if unknown. With `flip` the output is averaged with the mirrored output for the mirrored window.
    """

    def __init__(self, network: nn.Module, window: int, fps: float | None = None, flip: bool = True) -> None:
        super().__init__()
        self.network, self.window, self.fps, self.flip = network, window, fps, flip
        self.eval()

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def forward(self, pose_2d: Tensor) -> Tensor:
        """Return 3D poses (B, T, 17, 3) float32 of 2D windows, relative to the pelvis: x right, y down, z forward.

        `pose_2d` (B, T, 17, 3) is x right, y down, confidence. Input and output are in the window's normalised units;
        an output divided by the window's `scale` is in metres.
        """
        lifted = self._lift(pose_2d)
        return (lifted + mirror(self._lift(mirror(pose_2d)))) / 2 if self.flip else lifted

    def _lift(self, pose_2d: Tensor) -> Tensor:
        return root_relative(self.network(pose_2d).to(torch.float32))


def load_lifter(checkpoint: Path, flip: bool = True, window: int | None = None) -> Lifter:
    """Return the lifter of a checkpoint file, on the CPU; `window` (frames) defaults to the window of the training.

    Raises
    ------
    InputError
        The checkpoint is not readable, its network returns 2D poses, or `window` is too long for the network.
    """
    network, about = load_network(checkpoint), read_about(checkpoint)
    longest = network.config.max_frames
    if network.config.dim_out != 3:
        raise InputError(
            f"{checkpoint}: this checkpoint is only pretrained and returns 2D poses; run `uplift finetune` first"
        )
    if window is not None and window > longest:
        raise InputError(
            f"{checkpoint}: the network takes windows of at most {longest} frames, but the windows have {window};"
            f" convert the clips with --set convert.window={longest}"
        )
    return Lifter(network, window or int(about.get("window", longest)), about.get("fps"), flip)
