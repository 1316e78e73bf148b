"""Name runs in MLflow and Prefect by stage, data and date, e.g. `finetune cmu 2026-11-27 04:30`."""

import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from data_contracts.errors import InputError
from data_contracts.store.digests import PIPELINE
from data_contracts.store.folders import resolve
from data_contracts.store.manifests import read_manifest


def run_name(stage: str, data: str) -> str:
    """Return the name of a run that starts now; the name of a pipeline run contains only data and date."""
    minute = time.strftime("%Y-%m-%d %H:%M", time.gmtime())
    return " ".join(word for word in ("" if stage == PIPELINE else stage, data, minute) if word)


def input_data_name(store: Path, inputs: Mapping[str, str]) -> str:
    """Return the name of the data from which a stage's inputs (folders or digests) were made; if unknown, a digest."""
    for kind in ("windows", "clips", "keypoints"):
        if reference := inputs.get(kind):
            with suppress(InputError):
                manifest = read_manifest(resolve(store, kind, reference))
                data = manifest["statistics"].get("data") or input_data_name(store, manifest["inputs"])
                return data or manifest["digest"]
            return Path(reference).name
    return ""
