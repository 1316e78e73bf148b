"""The `uplift` command: one subcommand per stage of `flows.stages`, `pipeline`, and the commands of `flows.terminal`.

Exit code 0 only on success; a bad parameter, a missing file or a refused pickle ends with one line and exit code 2.
"""

import logging
import os
import shlex
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("PREFECT_LOGGING_EXTRA_LOGGERS", "model,data_contracts")  # the learner, and who holds a lock
os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_CLASS", "flows.terminal.logs.ConsoleHandler")
os.environ.setdefault("PREFECT_LOGGING_HANDLERS_API_CLASS", "flows.terminal.logs.ApiHandler")
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")  # a busy machine takes its time

import typer

from data_contracts.errors import InputError
from data_contracts.parameters import SYNTHETIC_SOURCE
from data_contracts.presets import preset_and_overrides
from data_contracts.sources import find_motion_files
from data_contracts.store.checking import check_folder
from data_contracts.store.folders import resolve
from data_contracts.store.sqlite import sqlite_uri
from flows.terminal.lifting_commands import lifting
from flows.terminal.model_commands import models
from flows.terminal.options import Call, command
from flows.terminal.printing import console, print_json, score_tables, stage_table
from flows.terminal.running import run_pipeline
from flows.terminal.stack_commands import stack
from flows.terminal.stage_commands import add_stage_commands, texts
from flows.terminal.store_commands import stores

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
app.add_typer(models)
app.add_typer(lifting)
app.add_typer(stores)
app.add_typer(stack)

ClipLists = Annotated[
    list[Path] | None,
    typer.Option(
        "--clip-list",
        help="CSV with clip metadata (subject, action, fps), one per motion file in the same order. Default: FILE.csv"
        " or clip_list.csv next to the file.",
    ),
]
add_stage_commands(app)


@command(app)
def pipeline(
    call: Call,
    source: Annotated[
        list[Path] | None,
        typer.Option(
            "--source", help="AMASS pickle, or a folder of them; repeatable. Default: the embedded demo motion."
        ),
    ] = None,
    clip_list: ClipLists = None,
    train_on: Annotated[
        str | None, typer.Option("--train-on", help="Train on this deployment's workers, e.g. cuda; default: here.")
    ] = None,
    promote: Annotated[
        Literal["never", "gate"], typer.Option("--promote", help="gate: promote the challenger, if it is better.")
    ] = "never",
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Train anew on unchanged data: seeds are today's date (UTC).")
    ] = False,
    start_from: Annotated[
        Literal["nothing", "champion"],
        typer.Option("--start-from", help="champion: fine-tune its weights; nothing: pretrain."),
    ] = "nothing",
) -> None:
    """All stages, ending in pose-uplift@challenger in the MLflow registry, and promotion if wanted."""
    given = texts(source) or SYNTHETIC_SOURCE
    if given != SYNTHETIC_SOURCE:
        find_motion_files(given, clip_list)  # what it refuses it refuses before a server is started
    start = time.perf_counter()
    outcome = run_pipeline(
        source=given,
        clip_list=texts(clip_list),
        store=str(call.store),
        train_on=train_on,
        promote=promote,
        fresh=fresh,
        start_from=start_from,
        **preset_and_overrides(call.parameters),
    )
    outcome["seconds"] = round(time.perf_counter() - start, 3)
    to_person, version = console(call.as_json), outcome["model"]
    to_person.print(stage_table(outcome["stages"]), *score_tables(outcome["stages"]["evaluate"]["statistics"]))
    to_person.print(f"registered {version['name']} version {version['version']} as {version['uri']}")
    if decision := outcome["promotion"]:
        to_person.print(decision["headline"], soft_wrap=True, highlight=False)
    to_person.print(
        f"\nlook at it:  {_where_to_look(call.store)}"
        f"\npromote it:  .venv/bin/uplift promote{'' if call.is_default_store else f' --store {call.store}'}",
        soft_wrap=True,
    )
    print_json(call.as_json, outcome)


def _where_to_look(store: Path) -> str:
    """The address of MLflow's server if it is tracked there, else the command that starts one."""
    uri = os.environ.get("MLFLOW_TRACKING_URI") or sqlite_uri(store / "mlflow.db")
    return uri if uri.startswith("http") else f".venv/bin/mlflow server --backend-store-uri {shlex.quote(uri)}"


@command(app)
def check(call: Call, folder: Annotated[str, typer.Argument(help="Folder or digest of any finished stage.")]) -> None:
    """Verify the manifest of a stage folder and the SHA-256 of each of its files."""
    from tasks.stage_runs.bars import progress_bar

    path = resolve(call.store, "*", folder)
    with progress_bar() as bar:
        line = bar.add_task(f"check {path.name}", total=1.0)
        checked = check_folder(path, lambda share: bar.update(line, completed=share))
    console(call.as_json).print(checked.describe(), soft_wrap=True, highlight=False)
    print_json(call.as_json, asdict(checked))


def main() -> None:
    """Entry point: runs the command, and turns a refused input into one line and exit code 2."""
    try:
        app()
    except InputError as error:
        logging.getLogger("prefect").setLevel(logging.ERROR)  # the refusal is the last line
        print(f"uplift: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
