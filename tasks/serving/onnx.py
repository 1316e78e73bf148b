"""Export a model as one ONNX file that runs without this project, and compare its output with the network."""

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

_FOLDER = "onnx"  # folder of the artifact in the MLflow run


def export_model(store: Path, model: str, out: Path | None, flip: bool | None, default_flip: bool) -> dict[str, Any]:
    """Write a model as ONNX; for a version of the registry, also log it to the run of the version, and tag the version.

    Parameters
    ----------
    model
        Model URI, run folder, digest, or checkpoint file.
    out
        File to write. Default: a file in the current folder, named after the version or the checkpoint.
    flip
        Use flip averaging. If None, as the version was evaluated, or `default_flip` without a version.
    default_flip
        Flip averaging of a model that is not a version of the registry.

    Returns
    -------
    dict
        `file`, `bytes`, `flip`, `frames`, `difference` (largest deviation from the network); for a version of the
        registry also `artifact`, the URI of the logged file.

    Raises
    ------
    InputError
        The model does not exist or returns 2D poses, or the packages for the export are not installed.
    """
    version = find_version(connect(store), model) if model.startswith("models:/") else None
    checkpoint = fetch_checkpoint(store, version_uri(version) if version else model)
    if flip is None:
        flip = uses_flip(version) if version else default_flip
    verify_input(checkpoint)
    network = load_network(checkpoint)
    if version and named_uri() is None:
        must_be_writable(store)  # the file is logged to the run of the version
    if network.config.dim_out != 3:
        raise InputError(f"{model}: this model is only pretrained and returns 2D poses; fine-tune it first")
    name = f"{version.name}-{version.version}" if version else checkpoint.stem
    file = out or Path(f"{name}{'' if flip else '-no-flip'}.onnx")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{file}: the file cannot be written ({error.strerror})") from error
    metadata = {
        "model": version_uri(version) if version else str(checkpoint),
        "checkpoint": file_digest(checkpoint),
        "exported_by": code_version()["commit"] or "unknown",
    }
    difference = export_onnx(network, flip, file, metadata)
    exported = {"file": str(file), "bytes": file.stat().st_size, "flip": flip, "difference": difference}
    exported["frames"] = describe(network, flip)["frames"]
    if version:
        client = connect(store)
        client.log_artifact(version.run_id, str(file), _FOLDER)
        exported["artifact"] = f"runs:/{version.run_id}/{_FOLDER}/{file.name}"
        client.set_model_version_tag(version.name, version.version, ONNX_TAG, exported["artifact"])
    return exported
