"""Names of runs, in MLflow and Prefect alike, by stage, preset, data and date: `finetune demo cmu 2026-11-27 04:30`.

Nobody has to say a preset's name: it is the one that the parameters differ least from, and by how many is said. What is
alike in all presets, as how motion is read, names none. Data is named by the files that it came from.
"""

import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from data_contracts.errors import InputError
from data_contracts.parameters import PipelineParameters
from data_contracts.presets import nearest_presets
from data_contracts.store.folders import resolve
from data_contracts.store.manifests import read_manifest

PIPELINE = "pipeline"


def run_name(stage: str, settings: Mapping[str, Any], data: str) -> str:
    """Of a run of that stage, begun now; a pipeline, which is most of what one looks for, goes without its own name.

    Parameters
    ----------
    settings
        The parameters that count, as JSON.
    data
        As `sources.data_name` or `data_behind` has it.
    """
    minute = time.strftime("%Y-%m-%d %H:%M", time.gmtime())
    words = ("" if stage == PIPELINE else stage, _preset(stage, settings), data, minute)
    return " ".join(word for word in words if word)


def data_behind(store: Path, inputs: Mapping[str, str]) -> str:
    """Name of the data that a stage's windows or clips (folders or digests) are of; if it is not known, the digest."""
    for kind in ("windows", "clips", "keypoints"):
        if reference := inputs.get(kind):
            with suppress(InputError):
                manifest = read_manifest(resolve(store, kind, reference))
                return (
                    manifest["statistics"].get("data") or data_behind(store, manifest["inputs"]) or manifest["digest"]
                )
            return Path(reference).name
    return ""


def _preset(stage: str, settings: Mapping[str, Any]) -> str:
    if stage != PIPELINE and stage not in PipelineParameters.model_fields:
        return ""
    nearest = nearest_presets(settings, None if stage == PIPELINE else stage)
    name, changed = nearest[0]
    if len(changed) == len(nearest[-1][1]):  # it is as near to any
        name = ""
    return " ".join(word for word in (name, f"({len(changed)} changed)" if changed else "") if word)
