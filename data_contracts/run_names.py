"""Name runs in MLflow and Prefect by stage, preset, data and date, e.g. `finetune demo cmu 2026-11-27 04:30`.

- The preset is the most similar one, followed by the number of changed parameters.
- A stage with the same parameters in all presets (e.g. ingest) has no preset in its name.
- The data is named after the source files.
"""

import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from data_contracts.errors import InputError
from data_contracts.parameters import PipelineParameters
from data_contracts.presets import nearest_presets
from data_contracts.store.digests import PIPELINE
from data_contracts.store.folders import resolve
from data_contracts.store.manifests import read_manifest


def run_name(stage: str, settings: Mapping[str, Any], data: str) -> str:
    """Return the name of a run that starts now; the name of a pipeline run does not contain the word pipeline.

    Parameters
    ----------
    settings
        The parameters in the digest (`identity()`), as JSON.
    data
        Name of the data, from `sources.data_name` or `input_data_name`; may be empty.
    """
    minute = time.strftime("%Y-%m-%d %H:%M", time.gmtime())
    words = ("" if stage == PIPELINE else stage, _preset(stage, settings), data, minute)
    return " ".join(word for word in words if word)


def input_data_name(store: Path, inputs: Mapping[str, str]) -> str:
    """Return the name of the data that a stage's inputs (folders or digests) were made from; if unknown, the digest."""
    for kind in ("windows", "clips", "keypoints"):
        if reference := inputs.get(kind):
            with suppress(InputError):
                manifest = read_manifest(resolve(store, kind, reference))
                name = manifest["statistics"].get("data") or input_data_name(store, manifest["inputs"])
                return name or manifest["digest"]
            return Path(reference).name
    return ""


def _preset(stage: str, settings: Mapping[str, Any]) -> str:
    if stage != PIPELINE and stage not in PipelineParameters.model_fields:
        return ""
    nearest = nearest_presets(settings, None if stage == PIPELINE else stage)
    name, changed = nearest[0]
    if len(changed) == len(nearest[-1][1]):  # all presets are equally similar
        name = ""
    return " ".join(word for word in (name, f"({len(changed)} changed)" if changed else "") if word)
