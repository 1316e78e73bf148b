"""Command `uplift`: one subcommand for each stage in the table of stages, and all other commands.

- The environment variables below are set before any import, because Prefect reads them at its import.
- An InputError ends the command with one line on stderr and exit code 2.
"""

import logging
import os
import shlex
import sys
import time
from pathlib import Path
from typing import Annotated, Literal

os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("PREFECT_LOGGING_EXTRA_LOGGERS", "model,data_contracts")  # they log training and lock waits
os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_CLASS", "flows.terminal.logs.ConsoleHandler")
os.environ.setdefault("PREFECT_LOGGING_HANDLERS_API_CLASS", "flows.terminal.logs.ApiHandler")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # its links open pages for language models
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")  # for busy machines

import typer

from data_contracts.errors import InputError
from data_contracts.machine import program
from data_contracts.parameters import SYNTHETIC_SOURCE
from data_contracts.parameters.presets import preset_and_overrides
from data_contracts.store.sqlite import sqlite_uri
from flows.prefect_ui.forms import SHARED
from flows.stages import find_files
from flows.terminal.model_commands import models
from flows.terminal.options import Call, command
from flows.terminal.printing import print_output, score_tables, stage_table
from flows.terminal.running import run_pipeline
from flows.terminal.stack_commands import stack
from flows.terminal.stage_commands import add_stage_commands, lifting, texts
from flows.terminal.store_commands import stores

_PIPELINE_MODULES = ("flask_wtf", "honcho", "httpx", "lightning_fabric", "mlflow", "prefect", "sqlalchemy")
HELP = "\n\n".join(
    [
        "Lift 2D human keypoints to 3D motion, and train and manage the models that do it.",
        "Lift your own keypoints: lift. Train on your motion: pipeline, or its stages ingest, convert, pretrain,"
        " finetune, baselines and evaluate. Manage models: promote, rollback, compare, lineage and export."
        " Score them on published benchmarks: benchmark. Run the servers: up.",
        "Commands compute in this process. A pipeline is a Prefect flow: it reports to the server that PREFECT_API_URL"
        " names, else to a temporary one.",
        "Exit code: 0 after success, 2 after a refused input, 1 after any other error.",
    ]
)

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=HELP)
app.add_typer(models)
app.add_typer(lifting)
app.add_typer(stores)
app.add_typer(stack)

add_stage_commands(app)


@command(app, is_flow=True)
def pipeline(
    call: Call,
    source: Annotated[
        list[Path] | None,
        typer.Option(help="Motion file, or folder with motion files; repeatable. Default: synthetic demo motion."),
    ] = None,
    clip_list: Annotated[list[Path] | None, typer.Option(help=SHARED["clip_list"])] = None,
    train_on: Annotated[
        Literal["here", "workers"],
        typer.Option(help="here: train in this process; workers: send the training to the pool cuda."),
    ] = "here",
    promote: Annotated[
        Literal["never", "gate"],
        typer.Option(help="gate: promote the new model if it is better; never: leave it as challenger."),
    ] = "never",
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Train again on unchanged data, with today's date (UTC) as seed.")
    ] = False,
    start_from: Annotated[
        Literal["nothing", "champion", "shipped"],
        typer.Option(help="Weights to fine-tune: champion, shipped (those of this package), nothing (pretrain first)."),
    ] = "nothing",
) -> None:
    """Run all stages, and register the model as pose-uplift@challenger in MLflow; see --promote for its promotion."""
    sources = texts(source) or SYNTHETIC_SOURCE
    if sources != SYNTHETIC_SOURCE:
        find_files(call.context.parameters.ingest, sources, clip_list)  # refuses bad files before a server starts
    start = time.perf_counter()
    outcome = run_pipeline(
        source=sources,
        clip_list=texts(clip_list),
        store=str(call.store),
        train_on=train_on,
        promote=promote,
        fresh=fresh,
        start_from=start_from,
        **preset_and_overrides(call.context.parameters),
    )
    outcome["seconds"] = round(time.perf_counter() - start, 3)
    version, decision = outcome["model"], outcome["promotion"]
    print_output(
        call.as_json,
        outcome,
        stage_table(outcome["stages"]),
        *score_tables(outcome["stages"]["evaluate"]["statistics"]),
        f"registered {version['name']} version {version['version']} as {version['uri']}",
        *([decision["headline"]] if decision else []),
        f"\nopen MLflow: {_mlflow_place(call.store, outcome['mlflow_run'])}",
        f"promote it:  {program('uplift')} promote{'' if call.is_default_store else f' --store {call.store}'}",
    )


def _mlflow_place(store: Path, run_id: str) -> str:
    """Return the page of a run in MLflow or, without a server, a command that starts one and the page of all runs."""
    from tasks.tracking.links import run_page, runs_page  # imports MLflow, which takes seconds

    if page := run_page(store, run_id):
        return page
    uri = os.environ.get("MLFLOW_TRACKING_URI") or sqlite_uri(store / "mlflow.db")
    return f"{program('mlflow')} server --backend-store-uri {shlex.quote(uri)}\n             {runs_page(store)}"


def main() -> None:
    """Run the command; print an InputError, or a missing package, in one line and exit with code 2."""
    try:
        app()
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _PIPELINE_MODULES:
            raise
        print(f"uplift: this command needs {error.name}: pip install 'pose-uplift[pipeline]'", file=sys.stderr)
        sys.exit(2)
    except InputError as error:
        logging.getLogger("prefect").setLevel(logging.ERROR)  # the refusal is the last line
        print(f"uplift: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
