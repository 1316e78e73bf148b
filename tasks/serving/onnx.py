"""Export: a model as one file that runs without this project, checked against it."""

from pathlib import Path
from typing import Any

from data_contracts.errors import InputError
from data_contracts.store.checking import verify_input
from data_contracts.store.code_version import code_version
from data_contracts.store.digests import file_digest
from data_contracts.store.locks import must_be_writable
from model.network.onnx_export import describe, export_onnx
from model.training.checkpoints import load_network
from tasks.tracking.connection import connect, named_uri
from tasks.tracking.registry import ONNX_TAG, fetch_checkpoint, find_version, uses_flip, version_uri

_FOLDER = "onnx"  # of the run's artifacts


def export_model(store: Path, model: str, out: Path | None, flip: bool | None, flip_untold: bool) -> dict[str, Any]:
    """Write a model as ONNX; that of a version is also an artifact of its run, which a tag of the version names.

    Parameters
    ----------
    model
        Model URI, run folder or digest, or checkpoint file.
    out
        Default: named after the version or the checkpoint, in the current folder.
    flip
        With flip averaging; none: as the version was scored, or `flip_untold` where there is no version.

    Returns
    -------
    dict
        `file`, `bytes`, `flip`, `frames`, `difference`; `artifact`, its URI, of a version.

    Raises
    ------
    InputError
        There is no such model, it gives back 2D poses, or the packages for it are not installed.
    """
    version = find_version(connect(store), model) if model.startswith("models:/") else None
    checkpoint = fetch_checkpoint(store, version_uri(version) if version else model)
    if flip is None:
        flip = uses_flip(version) if version else flip_untold
    verify_input(checkpoint)
    network = load_network(checkpoint)
    if version and named_uri() is None:
        must_be_writable(store)  # the file becomes an artifact of the version's run
    if network.config.dim_out != 3:
        raise InputError(f"{model}: gives back 2D poses: it is pretrained only; fine-tune it first")
    name = f"{version.name}-{version.version}" if version else checkpoint.stem
    file = out or Path(f"{name}{'' if flip else '-no-flip'}.onnx")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{file}: cannot be written ({error.strerror})") from error
    about = {
        "model": version_uri(version) if version else str(checkpoint),
        "checkpoint": file_digest(checkpoint),
        "exported_by": code_version()["commit"] or "not known",
    }
    difference = export_onnx(network, flip, file, about)
    exported = {"file": str(file), "bytes": file.stat().st_size, "flip": flip, "difference": difference}
    exported["frames"] = describe(network, flip)["frames"]
    if version:
        client = connect(store)
        client.log_artifact(version.run_id, str(file), _FOLDER)
        exported["artifact"] = f"runs:/{version.run_id}/{_FOLDER}/{file.name}"
        client.set_model_version_tag(version.name, version.version, ONNX_TAG, exported["artifact"])
    return exported
