"""Digests of every stage for two presets. They change only together with CONTRACT_VERSION, which is part of them.

`python -m tests.data_contracts.store.test_golden_digests` writes the new digests after CONTRACT_VERSION was raised.
"""

import json
from pathlib import Path

import pytest

from data_contracts.parameters import PipelineParameters
from data_contracts.parameters.presets import load_preset
from data_contracts.store.digests import CONTRACT_VERSION, KINDS, StageKey

PRESETS = ("demo", "seed")
GOLDEN = Path(__file__).parents[2] / "data" / "stage_digests.json"


def stage_digests(parameters: PipelineParameters) -> dict[str, str]:
    """Return the digest of every stage and of the pipeline, each with the one input `input: 0`."""
    named = {"synthesise": "synthetic", "benchmark": "keypoints", "score": "lift"}  # others have the name of the stage
    of_stage = {name: getattr(parameters, named.get(name, name)) for name in KINDS}
    stages = {name: StageKey(KINDS[name], name, part, {"input": "0"}).digest for name, part in of_stage.items()}
    return stages | {"pipeline": StageKey("pipelines", "pipeline", parameters, {"input": "0"}).digest}


@pytest.mark.parametrize("preset", PRESETS)
def test_stage_digests_are_those_of_this_contract_version(preset):
    golden = json.loads(GOLDEN.read_text())
    assert golden["contract_version"] == CONTRACT_VERSION, "write the new digests with the command above"
    assert stage_digests(load_preset(preset)) == golden[preset]


if __name__ == "__main__":
    digests = {preset: stage_digests(load_preset(preset)) for preset in PRESETS}
    GOLDEN.write_text(json.dumps({"contract_version": CONTRACT_VERSION} | digests, indent=1) + "\n")
