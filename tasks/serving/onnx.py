"""Export a model as one ONNX file that runs without this project, and compare its output with the network.

- The batch size is dynamic. The number of frames is dynamic too (up to `max_frames`), unless the stem, the head or
  patches need whole windows. Before the file gets its final name, onnxruntime runs it on random windows.
"""

import logging
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from data_contracts.errors import InputError
from data_contracts.skeleton import JOINTS, NUM_JOINTS
from data_contracts.store.checking import verify_input
from data_contracts.store.digests import file_digest
from data_contracts.store.manifests import code_version
from model.lifting.lifter import Lifter, load_lifter
from model.network.network import PoseNetwork
from tasks.tracking.connection import connect, connect_to_write
from tasks.tracking.models import find_lifting_model
from tasks.tracking.registry import find_version

INPUT, OUTPUT = "pose_2d", "pose_3d"
TOLERANCE = 1e-4  # in the window's units, in which a body is about 1 long
_FOLDER = "onnx"  # folder of the artifact in the MLflow run
_UNSEEN = 0.1  # share of missing joints in a random window
_EXAMPLE = 3  # batch size for tracing: sizes 0 and 1 would become constants


def export_model(store: Path, model: str, out: Path | None, flip: bool = True) -> dict[str, Any]:
    """Write a model as ONNX; if the model is a registered version, also log the file to its run.

    Parameters
    ----------
    model
        Model URI, run folder, digest, checkpoint file, or shipped.
    out
        File to write. Default: a file in the current folder, named after the version or the checkpoint.
    flip
        Use flip averaging if the model was evaluated with flip averaging.

    Returns
    -------
    dict
        `file`, `bytes`, `flip`, `frames`, `difference` (see `export_onnx`), and `artifact` (URI of the logged file).

    Raises
    ------
    InputError
        The model does not exist or returns 2D poses, or the packages for the export are not installed.
    """
    found = find_lifting_model(store, model)
    version = find_version(connect(store), found.uri) if found.uri.startswith("models:/") else None
    checkpoint, flip = found.checkpoint, flip and found.flip
    verify_input(checkpoint)
    lifter = load_lifter(checkpoint, flip)
    if version:
        connect_to_write(store)  # the file is logged to the run of the version
    name = f"{version.name}-{version.version}" if version else checkpoint.stem
    file = out or Path(f"{name}{'' if flip else '-no-flip'}.onnx")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{file}: cannot be written ({error.strerror}); pass another --out") from error
    metadata = {
        "model": found.uri if version else str(checkpoint),
        "checkpoint": file_digest(checkpoint),
        "exported_by": code_version()["commit"] or "unknown",
    }
    difference = export_onnx(lifter, file, metadata)
    exported = {"file": str(file), "bytes": file.stat().st_size, "flip": flip, "difference": difference}
    exported["frames"] = describe(lifter)["frames"]
    if version:
        client = connect(store)
        client.log_artifact(version.run_id, str(file), _FOLDER)
        exported["artifact"] = f"runs:/{version.run_id}/{_FOLDER}/{file.name}"
    return exported


def export_onnx(lifter: Lifter, file: Path, about: dict[str, str]) -> float:
    """Write a lifter on the CPU to `file`; return the largest difference between onnxruntime and PyTorch.

    The metadata of the file are `about` and the result of `describe`.

    Raises
    ------
    InputError
        The ONNX packages are not installed.
    RuntimeError
        The outputs differ by more than `TOLERANCE`; no file is written.
    """
    try:
        import onnxruntime
        import onnxscript  # noqa: F401 - what torch.onnx needs
    except ImportError as error:
        raise InputError(f"ONNX export needs {error.name}: pip install 'pose-uplift[onnx]'") from error
    longest, fixed = _frames_of(lifter)
    free: dict[int, object] = {0: torch.export.Dim("batch")}
    if not fixed:
        free[1] = torch.export.Dim("frames", max=longest)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it logs operators of unrelated packages
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # raised by torch itself
        program = torch.onnx.export(
            lifter.requires_grad_(False),
            (_draw(_EXAMPLE, longest),),
            dynamo=True,
            dynamic_shapes=(free,),
            input_names=[INPUT],
            output_names=[OUTPUT],
            verbose=False,
        )
    assert program is not None, "dynamo export returns a program"
    program.model.metadata_props.update(describe(lifter) | about)
    partial = file.with_name(f".{file.name}.partial")
    try:
        program.save(str(partial))
        session = onnxruntime.InferenceSession(str(partial), providers=["CPUExecutionProvider"])
        lengths = {longest} if fixed else {1, 2, longest}
        difference = max(_difference(lifter, session, _draw(n, frames)) for n in (1, 5) for frames in sorted(lengths))
        if not difference <= TOLERANCE:
            raise RuntimeError(
                f"{file}: not written, because poses of onnxruntime and PyTorch differ by {difference:.2g} in the"
                f" normalised units of a window, more than {TOLERANCE:g}; install the versions in constraints.txt"
            )
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)
    return difference


def describe(lifter: Lifter) -> dict[str, str]:
    """Return the part of the ONNX file's metadata that describes inputs and outputs."""
    longest, fixed = _frames_of(lifter)
    exactly = (
        f"exactly {longest}: pad a shorter window with its last frame at confidence 0, and ignore the padding's output"
    )
    return {
        "input": f"{INPUT} float32 (batch, frames, {NUM_JOINTS}, 3): x right, y down, confidence 0 to 1; coordinates"
        " of the image divided by one scale per window",
        "output": f"{OUTPUT} float32 (batch, frames, {NUM_JOINTS}, 3): x right, y down, z forward, relative to the"
        " pelvis, in the input's units",
        "frames": exactly if fixed else f"1 to {longest}",
        "joints": ", ".join(JOINTS),
        "flip": "mean with the mirrored pose of the mirror image" if lifter.flip else "none",
    }


def _frames_of(lifter: Lifter) -> tuple[int, bool]:
    """Return the largest number of frames of the exported network, and whether this is the only allowed number."""
    network = lifter.network
    assert isinstance(network, PoseNetwork)
    return network.config.max_frames, network.backbone.whole_windows or network.config.patch > 1


def _difference(lifter: Lifter, session: object, pose_2d: Tensor) -> float:
    with torch.inference_mode():
        expected = lifter(pose_2d)
    (answer,) = session.run([OUTPUT], {INPUT: pose_2d.numpy()})  # type: ignore[attr-defined]
    return float((torch.from_numpy(answer) - expected).abs().max())


def _draw(windows: int, frames: int) -> Tensor:
    generator = torch.Generator().manual_seed(windows * frames)
    xy = torch.randn(windows, 1, NUM_JOINTS, 2, generator=generator) / 2  # a pose, and how it moves
    xy = xy + torch.randn(windows, frames, NUM_JOINTS, 2, generator=generator) / 20
    seen = torch.rand(windows, frames, NUM_JOINTS, 1, generator=generator) > _UNSEEN
    return torch.cat((xy, seen.float()), dim=-1)
