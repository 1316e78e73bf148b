"""The `uplift` command: one subcommand per stage flow, `pipeline`, and those of `flows.terminal`'s files.

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
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")  # a busy machine takes its time

import typer

from data_contracts.errors import InputError
from data_contracts.parameters import SYNTHETIC_SOURCE
from data_contracts.sources import find_motion_files
from data_contracts.store import identities
from data_contracts.store.folders import resolve
from data_contracts.store.lineage import baselines_digest, baselines_source
from data_contracts.store.sqlite import sqlite_uri
from flows.terminal.lifting_commands import lifting
from flows.terminal.model_commands import models
from flows.terminal.options import MODEL_HELP, Call, command
from flows.terminal.printing import console, print_json, print_stage, score_tables, stage_table
from flows.terminal.running import find_or_run, local_checkpoint, run_flow
from flows.terminal.stack_commands import stack
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
        help="CSV: who moves in which clip; one for each file, in their order. Default: that beside each.",
    ),
]
Windows = Annotated[str, typer.Argument(help="Folder or digest of a convert stage.")]


@command(app)
def ingest(
    call: Call,
    source: Annotated[list[Path], typer.Argument(help="AMASS pickle, .npz, .npy, or a folder of them; or several.")],
    clip_list: ClipLists = None,
) -> None:
    """Motion files -> clip store."""
    parameters = call.parameters.ingest
    identity = identities.ingest(find_motion_files(source, clip_list), parameters)
    result = find_or_run(
        call.store, "ingest", identity, source=_texts(source), clip_list=_texts(clip_list), parameters=parameters
    )
    print_stage(result, call.as_json, f"uplift convert {call.reference(result)}")


@command(app)
def convert(call: Call, clips: Annotated[str, typer.Argument(help="Folder or digest of an ingest stage.")]) -> None:
    """Clips -> H36M windows in Parquet, split by group."""
    parameters = call.parameters.convert
    identity = identities.convert(resolve(call.store, "clips", clips), parameters)
    result = find_or_run(
        call.store, "convert", identity, clips=clips, parameters=parameters, workers=call.parameters.workers
    )
    print_stage(result, call.as_json, f"uplift pretrain {call.reference(result)}")


@command(app)
def pretrain(
    call: Call,
    windows: Windows,
    windows_2d: Annotated[
        str | None, typer.Option("--windows-2d", help="Windows of which only the 2D is learned from.")
    ] = None,
) -> None:
    """Masked pretraining of a DSTformer."""
    parameters = call.parameters.pretrain
    only_2d = resolve(call.store, "windows", windows_2d) if windows_2d else None
    result = find_or_run(
        call.store,
        "pretrain",
        identities.pretrain(resolve(call.store, "windows", windows), parameters, only_2d),
        windows=windows,
        parameters=parameters,
        runtime=call.parameters.runtime,
        windows_2d=windows_2d,
    )
    print_stage(result, call.as_json, f"uplift finetune {windows} --pretrained {call.reference(result)}")


@command(app)
def finetune(
    call: Call, windows: Windows, pretrained: Annotated[str, typer.Option("--pretrained", help=MODEL_HELP)]
) -> None:
    """Fine-tuning from a pretrained backbone."""
    parameters = call.parameters.finetune
    folder, checkpoint = resolve(call.store, "windows", windows), local_checkpoint(call.store, pretrained)
    result = find_or_run(
        call.store,
        "finetune",
        identities.finetune(folder, checkpoint, parameters) if checkpoint else None,
        windows=windows,
        pretrained=pretrained,
        parameters=parameters,
        runtime=call.parameters.runtime,
    )
    print_stage(result, call.as_json, f"uplift evaluate {windows} --model {call.reference(result)}")


@command(app)
def baselines(call: Call, windows: Windows) -> None:
    """What a model must beat, fitted on the windows: mean depth, linear, and an MLP."""
    parameters = call.parameters.baselines
    identity = identities.baselines(resolve(call.store, "windows", windows), parameters)
    result = find_or_run(
        call.store,
        "baselines",
        identity,
        windows=windows,
        parameters=parameters,
        runtime=call.parameters.runtime,
    )
    print_stage(result, call.as_json, f"uplift evaluate {windows} --model ...")


@command(app)
def evaluate(
    call: Call,
    windows: Windows,
    model: Annotated[str, typer.Option("--model", help=MODEL_HELP)],
    baselines: Annotated[
        str | None,
        typer.Option(
            "--baselines",
            help="Folder or digest of windows to fit the baselines on, or of a baselines stage. Default: WINDOWS, if"
            " they have a training split, else those that the model was trained on.",
        ),
    ] = None,
) -> None:
    """Evaluation on held-out people, beside the baselines."""
    parameters, fit = call.parameters.evaluate, call.parameters.baselines
    folder, checkpoint = resolve(call.store, "windows", windows), local_checkpoint(call.store, model)
    identity = None
    if checkpoint:
        source = baselines_source(call.store, folder, checkpoint, baselines)
        identity = identities.evaluate(folder, checkpoint, baselines_digest(source, fit), parameters)
    result = find_or_run(
        call.store,
        "evaluate",
        identity,
        windows=windows,
        model=model,
        parameters=parameters,
        runtime=call.parameters.runtime,
        baselines=baselines,
        fit=fit,
    )
    print_stage(result, call.as_json, "uplift promote")


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
    given = _texts(source) or SYNTHETIC_SOURCE
    if given != SYNTHETIC_SOURCE:
        find_motion_files(given, clip_list)  # what it refuses it refuses before a server is started
    start = time.perf_counter()
    outcome = run_flow(
        "pipeline",
        source=given,
        clip_list=_texts(clip_list),
        parameters=call.parameters,
        store=str(call.store),
        train_on=train_on,
        promote=promote,
        fresh=fresh,
        start_from=start_from,
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
    """Check that a stage folder is as it was written: its manifest, every byte, and the contract of its kind."""
    # what brings pandera and Arrow, which other commands need not wait for
    from data_contracts.store.checking import check_folder
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


def _texts(paths: list[Path] | None) -> str | list[str] | None:
    """As the flows take them: one as itself, several as a list."""
    texts = [str(path) for path in paths or []]
    return texts[0] if len(texts) == 1 else texts or None


if __name__ == "__main__":
    main()
