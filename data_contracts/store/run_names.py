"""Names of runs in MLflow and Prefect: date, data and stage, e.g. `11-27 04:30 cmu finetune`; lists cut long ones."""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from data_contracts.errors import InputError
from data_contracts.store.folders import resolve
from data_contracts.store.manifests import read_manifest


def run_name(*words: str) -> str:
    """Return the name of a run that starts now: month, day and time (UTC), and the words that are not empty."""
    return " ".join([time.strftime("%m-%d %H:%M", time.gmtime()), *filter(None, words)])


def preset_name(preset: str, overrides: Sequence[str]) -> str:
    """Return the name of a preset or preset file and, if there are overrides, their number, e.g. `demo+5`."""
    return f"{Path(preset).stem}{f'+{len(overrides)}' if overrides else ''}"


def input_data_name(store: Path, inputs: Mapping[str, str]) -> str:
    """Return the name of the data that a stage's inputs were made from, e.g. `cmu`.

    `inputs`: folder or digest by kind. If the input has no data name, return its digest; if its manifest is unreadable,
    the last part of the reference; without windows, clips and keypoints "".
    """
    for kind in ("windows", "clips", "keypoints"):
        if reference := inputs.get(kind):
            with suppress(InputError):
                manifest = read_manifest(resolve(store, kind, reference))
                data = manifest["statistics"].get("data") or input_data_name(store, manifest["inputs"])
                return data or manifest["digest"]
            return Path(reference).name
    return ""
