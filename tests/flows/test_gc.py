"""gc as a flow and as a command, and next to a pipeline run."""

import json
import shutil
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
from tasks.tracking.connection import connect
from tasks.tracking.names import MODEL_NAME
from tests.flows.typed import pipeline

STAGES = ("ingest", "convert", "pretrain", "finetune", "baselines", "evaluate")


def test_gc_before_every_stage_of_a_pipeline_run_removes_nothing_that_it_may_use(
    parameters, outcome, store, tmp_path, monkeypatch
):
    # other tests lift with the model of the shared pipeline run, and give it aliases
    own = Path(shutil.copytree(store, tmp_path / "store", ignore=shutil.ignore_patterns("motions", "scores")))
    client = connect(own)
    for alias in client.get_registered_model(MODEL_NAME).aliases:
        client.delete_registered_model_alias(MODEL_NAME, alias)
    before = {path for path in own.glob("*/[!.]*") if path.is_dir()}
    dispatch, removed = flows.pipeline.dispatch_stage, []

    def after_gc(*arguments, **named):
        removed.append(collect(own, 1, dry_run=False)["items"])
        return dispatch(*arguments, **named)

    def run() -> dict:
        finetune = parameters.finetune.model_copy(update={"seed": 1})
        return pipeline(parameters=parameters.model_copy(update={"finetune": finetune}), store=str(own))

    with monkeypatch.context() as patch:
        patch.setattr(flows.pipeline, "dispatch_stage", after_gc)
        second = run()  # with the windows and the pretraining of the first
    assert removed == [[]] * len(STAGES)
    cached = [name for name in STAGES if second["stages"][name]["cached"]]
    assert cached == ["ingest", "convert", "pretrain", "baselines"]
    assert all(map(Path.is_dir, before))

    first = {name: own / Path(outcome["stages"][name]["folder"]).relative_to(store) for name in STAGES}
    listed = gc(keep_last=1, store=str(own), return_state=True)
    assert listed.message.startswith("would be removed: ")
    assert first["finetune"].exists()
    state = gc(keep_last=1, dry_run=False, store=str(own), return_state=True)
    assert state.message.startswith("removed: ")
    for stage in second["stages"].values():
        check_folder(Path(stage["folder"]))
    assert not first["finetune"].exists()
    assert not first["evaluate"].exists()
    again = run()
    assert again["cached"]
    assert again["model"] == second["model"]

    abandoned = own / "windows" / ".0123456789abcdef.partial"
    abandoned.mkdir()
    arguments = ["gc", "--keep-last", "1", "--json", "--store", str(own)]
    printed = json.loads(CliRunner().invoke(app, arguments).stdout.splitlines()[-1])
    assert printed["dry_run"]
    assert "windows/.0123456789abcdef.partial" in [item["name"] for item in printed["items"]]
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
