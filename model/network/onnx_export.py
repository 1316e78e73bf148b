"""Export a network to one ONNX file: poses relative to the pelvis, with optional flip averaging.

- The batch size is dynamic; the length too, up to `max_frames`, unless stem, head or patches need whole windows.
- The written file is run with onnxruntime on random windows, some joints missing, before it gets its final name.
- `metadata_props` of the file describe inputs and outputs.
"""

import logging
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from data_contracts.errors import InputError
from data_contracts.skeleton import JOINTS, NUM_JOINTS
from model.network.dstformer import DSTformer
from model.network.lifting import lift

INPUT, OUTPUT = "pose_2d", "pose_3d"
TOLERANCE = 1e-4  # in the window's units, in which a body is about 1 long
_UNSEEN = 0.1  # share of missing joints in a random window
_EXAMPLE = 3  # batch size for tracing: sizes 0 and 1 would become constants


class _Served(nn.Module):
    def __init__(self, network: DSTformer, flip: bool) -> None:
        super().__init__()
        self.network, self.flip = network, flip

    def forward(self, pose_2d: Tensor) -> Tensor:
        return lift(self.network, pose_2d, self.flip)


def export_onnx(network: DSTformer, flip: bool, file: Path, about: dict[str, str]) -> float:
    """Write the network to `file`; return the largest difference between onnxruntime and PyTorch.

    Parameters
    ----------
    network
        On the CPU, in evaluation mode, with a 3D output.
    about
        Metadata entries in addition to `input`, `output`, `frames`, `joints` and `flip`.

    Raises
    ------
    InputError
        The ONNX packages are not installed.
    RuntimeError
        Outputs differ by more than `TOLERANCE`; no file is written.
    """
    try:
        import onnxruntime
        import onnxscript  # noqa: F401 - what torch.onnx needs
    except ImportError as error:
        raise InputError(f"ONNX export needs {error.name}: pip install 'pose-uplift[onnx]'") from error
    served, longest = _Served(network.requires_grad_(False), flip).eval(), network.config.max_frames
    fixed = has_fixed_length(network)
    free: dict[int, object] = {0: torch.export.Dim("batch")}
    if not fixed:
        free[1] = torch.export.Dim("frames", max=longest)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it logs operators of unrelated packages
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # raised by torch itself
        program = torch.onnx.export(
            served,
            (_draw(_EXAMPLE, longest),),
            dynamo=True,
            dynamic_shapes=(free,),
            input_names=[INPUT],
            output_names=[OUTPUT],
            verbose=False,
        )
    assert program is not None, "dynamo export returns a program"
    program.model.metadata_props.update(describe(network, flip) | about)
    partial = file.with_name(f".{file.name}.partial")
    try:
        program.save(str(partial))
        session = onnxruntime.InferenceSession(str(partial), providers=["CPUExecutionProvider"])
        lengths = {longest} if fixed else {1, 2, longest}
        difference = max(_difference(served, session, _draw(n, frames)) for n in (1, 5) for frames in sorted(lengths))
        if not difference <= TOLERANCE:
            raise RuntimeError(f"poses of onnxruntime and PyTorch differ by {difference:.2g}; at most {TOLERANCE:g}")
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)
    return difference


def has_fixed_length(network: DSTformer) -> bool:
    """Return whether the exported network accepts windows of `max_frames` only."""
    return network.backbone.whole_windows or network.config.patch > 1


def describe(network: DSTformer, flip: bool) -> dict[str, str]:
    """Return the metadata that describe inputs and outputs."""
    longest = network.config.max_frames
    whole = (
        f"exactly {longest}: pad a shorter window with its last frame at confidence 0, and ignore the output for the"
        " padding"
    )
    return {
        "input": f"{INPUT} float32 (batch, frames, {NUM_JOINTS}, 3): x right, y down, confidence 0 to 1; coordinates"
        " of the image divided by one scale per window",
        "output": f"{OUTPUT} float32 (batch, frames, {NUM_JOINTS}, 3): x right, y down, z forward, relative to the"
        " pelvis, in the input's units",
        "frames": whole if has_fixed_length(network) else f"1 to {longest}",
        "joints": ", ".join(JOINTS),
        "flip": "mean with the mirrored pose of the mirror image" if flip else "none",
    }


def _difference(served: _Served, session: object, pose_2d: Tensor) -> float:
    with torch.inference_mode():
        expected = served(pose_2d)
    (answer,) = session.run([OUTPUT], {INPUT: pose_2d.numpy()})  # type: ignore[attr-defined]
    return float((torch.from_numpy(answer) - expected).abs().max())


def _draw(windows: int, frames: int) -> Tensor:
    generator = torch.Generator().manual_seed(windows * frames)
    xy = torch.randn(windows, 1, NUM_JOINTS, 2, generator=generator) / 2  # a pose, and how it moves
    xy = xy + torch.randn(windows, frames, NUM_JOINTS, 2, generator=generator) / 20
    seen = torch.rand(windows, frames, NUM_JOINTS, 1, generator=generator) > _UNSEEN
    return torch.cat((xy, seen.float()), dim=-1)
