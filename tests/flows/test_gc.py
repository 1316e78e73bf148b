"""Removal as a flow and a command, beside a night at work."""

import json
from pathlib import Path

from typer.testing import CliRunner

import flows.pipeline
from data_contracts.store.checking import check_folder
from flows.command_line import app
from flows.gc import gc
from tasks.cleaning.gc import collect
from tests.flows.typed import pipeline

NIGHT = ("ingest", "convert", "pretrain", "finetune", "baselines", "evaluate")


def folders(outcome: dict) -> dict[str, Path]:
    return {name: Path(outcome["stages"][name]["folder"]) for name in NIGHT}


def test_a_removal_before_every_stage_of_a_night_takes_nothing_that_it_may_ask_for(
    parameters, empty_store, monkeypatch
):
    def night(finetune_seed: int, views: int = 1) -> dict:
        finetune = parameters.finetune.model_copy(update={"seed": finetune_seed})
        convert = parameters.convert.model_copy(update={"views": views})
        wanted = parameters.model_copy(update={"finetune": finetune, "convert": convert})
        return pipeline(parameters=wanted, store=str(empty_store))

    first, second = night(0), night(0, views=2)
    dispatch, removed = flows.pipeline.dispatch_stage, []

    def after_a_removal(*arguments, **named):
        removed.append(collect(empty_store, 1)["removed"])
        return dispatch(*arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(flows.pipeline, "dispatch_stage", after_a_removal)
        third = night(1)  # on the windows and the pretraining of the first, which nothing else needs
    assert len(removed) == len(NIGHT)
    assert [name for name in NIGHT if third["stages"][name]["cached"]] == ["ingest", "convert", "pretrain", "baselines"]
    for folder in [*folders(first).values(), *folders(second).values(), *folders(third).values()]:
        check_folder(folder)

    state = gc(keep_last=1, store=str(empty_store), return_state=True)
    assert state.message.startswith("removed: ")
    for folder in folders(third).values():
        check_folder(folder)
    assert not any(folders(second)[name].exists() for name in NIGHT[1:])
    assert not folders(first)["finetune"].exists()
    again = night(1)
    assert again["cached"]
    assert again["model"] == third["model"]

    run = CliRunner().invoke(app, ["gc", "--keep-last", "1", "--dry-run", "--json", "--store", str(empty_store)])
    told = json.loads(run.stdout.splitlines()[-1])
    assert {item["kind"] for item in told["items"]} == {"MLflow runs"}  # that of `third`, which `again` repeated
    assert told["kept"]["nights"] == 1
