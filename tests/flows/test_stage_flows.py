"""Flows made from the table of stages: their parameters, and bad presets and overrides."""

import inspect

import pytest

from data_contracts.errors import InputError
from data_contracts.parameters import PipelineParameters
from data_contracts.parameters.presets import load_preset
from flows.cli import app
from flows.lift import lift
from flows.pipeline import pipeline
from flows.promote import promote
from flows.stage_flows import FLOWS, pretrain
from flows.stages import STAGES

INPUTS = {"pretrain": {"windows": "absent"}, "lift": {"source": "absent"}}
SHARED = ["preset", "overrides", "store", "parent_run", "digest"]


@pytest.mark.parametrize("name", list(STAGES))
def test_each_stage_has_parameters_a_flow_and_a_command(name):
    _, *inputs = inspect.signature(STAGES[name].resolve).parameters
    assert list(inspect.signature(FLOWS[name].fn).parameters) == [*inputs, *SHARED]
    assert FLOWS[name].name == name
    assert name in PipelineParameters.model_fields
    commands = [
        info
        for typer in [app, *(group.typer_instance for group in app.registered_groups)]
        for info in typer.registered_commands
    ]
    assert name in {info.name or info.callback.__name__ for info in commands}


@pytest.mark.parametrize(
    ("preset", "overrides"),
    [
        ("best", []),
        ("demo", ["pretrain.max_epoch=1"]),
        ("demo", ["pretrain.max_epochs=0", "convert.window=no"]),
        ("demo", ["pretrain.max_epochs"]),
    ],
)
@pytest.mark.parametrize("run", [pipeline, promote, lift, pretrain])
def test_a_bad_preset_or_override_fails_with_the_message_of_the_command_line(run, preset, overrides, tmp_path):
    with pytest.raises(InputError) as expected:
        load_preset(preset, overrides)
    state = run(
        **INPUTS.get(run.name, {}), preset=preset, overrides=overrides, store=str(tmp_path / "store"), return_state=True
    )
    assert state.is_failed()
    assert str(expected.value) in state.message
    assert not (tmp_path / "store").exists()
