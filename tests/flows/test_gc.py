"""gc as a flow and as a command, and next to a pipeline run."""

import json
from pathlib import Path

from prefect.client.orchestration import get_client
from prefect.states import Running
from typer.testing import CliRunner

import flows.pipeline
from data_contracts.store.checking import check_folder
from flows.cli import app
from flows.gc import gc
from tasks.maintenance.gc import collect
from tasks.maintenance.status import running_flow_runs
from tests.flows.typed import pipeline

STAGES = ("ingest", "convert", "pretrain", "finetune", "baselines", "evaluate")


def folders(outcome: dict) -> dict[str, Path]:
    return {name: Path(outcome["stages"][name]["folder"]) for name in STAGES}


def test_gc_before_every_stage_of_a_pipeline_run_removes_nothing_that_it_may_use(parameters, empty_store, monkeypatch):
    def run(finetune_seed: int, views: int = 1) -> dict:
        finetune = parameters.finetune.model_copy(update={"seed": finetune_seed})
        convert = parameters.convert.model_copy(update={"views": views})
        wanted = parameters.model_copy(update={"finetune": finetune, "convert": convert})
        return pipeline(parameters=wanted, store=str(empty_store))

    first, second = run(0), run(0, views=2)
    dispatch, removed = flows.pipeline.dispatch_stage, []

    def after_gc(*arguments, **named):
        removed.append(collect(empty_store, 1, dry_run=False)["removed"])
        return dispatch(*arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(flows.pipeline, "dispatch_stage", after_gc)
        third = run(1)  # with the windows and the pretraining of the first, which nothing else needs
    assert len(removed) == len(STAGES)
    cached = [name for name in STAGES if third["stages"][name]["cached"]]
    assert cached == ["ingest", "convert", "pretrain", "baselines"]
    for folder in [*folders(first).values(), *folders(second).values(), *folders(third).values()]:
        check_folder(folder)

    listed = gc(keep_last=1, store=str(empty_store), return_state=True)
    assert listed.message.startswith("would be removed: ")
    assert folders(second)["finetune"].exists()
    state = gc(keep_last=1, dry_run=False, store=str(empty_store), return_state=True)
    assert state.message.startswith("removed: ")
    for folder in folders(third).values():
        check_folder(folder)
    assert not any(folders(second)[name].exists() for name in STAGES[1:])
    assert not folders(first)["finetune"].exists()
    again = run(1)
    assert again["cached"]
    assert again["model"] == third["model"]

    abandoned = empty_store / "windows" / ".0123456789abcdef.partial"
    abandoned.mkdir()
    arguments = ["gc", "--keep-last", "1", "--json", "--store", str(empty_store)]
    printed = json.loads(CliRunner().invoke(app, arguments).stdout.splitlines()[-1])
    assert printed["dry_run"]
    assert [item["kind"] for item in printed["items"]] == ["partial folders"]
    assert printed["kept"]["pipeline runs"] == 3  # the last one, and those that computed its stages
    assert abandoned.is_dir()
    done = json.loads(CliRunner().invoke(app, [*arguments, "--yes"]).stdout.splitlines()[-1])
    assert done["items"] == printed["items"]
    assert not abandoned.exists()
    assert not json.loads(CliRunner().invoke(app, arguments).stdout.splitlines()[-1])["items"]


def test_the_status_lists_running_flow_runs_of_prefect():
    with get_client(sync_client=True) as client:
        run = client.create_flow_run(gc, name="shown in the status")
        client.set_flow_run_state(run.id, Running())
        try:
            shown = [one for one in running_flow_runs(limit=200) if one["name"] == "shown in the status"]
        finally:
            client.delete_flow_run(run.id)
    assert [(one["flow"], one["state"]) for one in shown] == [("gc", "Running")]
    assert shown[0]["since"]
