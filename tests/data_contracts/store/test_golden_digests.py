"""Digests of every stage for two presets. They change only together with CONTRACT_VERSION, which is part of them."""

import json
from pathlib import Path

import pytest

from data_contracts.parameters import PipelineParameters
from data_contracts.parameters.presets import load_preset
from data_contracts.store.digests import CONTRACT_VERSION, KINDS, StageKey

GOLDEN = Path(__file__).parents[2] / "data" / "stage_digests.json"


def stage_digests(parameters: PipelineParameters) -> dict[str, str]:
    """Return the digest of every stage and of the pipeline, each with the one input `input: 0`."""
    of_stage = {name: getattr(parameters, {"synthesise": "synthetic"}.get(name, name)) for name in KINDS}
    stages = {name: StageKey(KINDS[name], name, part, {"input": "0"}).digest for name, part in of_stage.items()}
    return stages | {"pipeline": StageKey("pipelines", "pipeline", parameters, {"input": "0"}).digest}


@pytest.mark.parametrize("preset", ["demo", "seed"])
def test_stage_digests_are_those_of_this_contract_version(preset):
    golden = json.loads(GOLDEN.read_text())
    assert golden["contract_version"] == CONTRACT_VERSION, "write the new digests into the golden file"
    assert stage_digests(load_preset(preset)) == golden[preset]
