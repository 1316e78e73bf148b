"""Commands for registered models: promote, rollback, compare, lineage, export and serve."""

import getpass
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from data_contracts.errors import InputError
from data_contracts.store.folders import default_store
from flows.prefect_ui.forms import SHARED
from flows.stages import run_stage
from flows.terminal.benchmark_commands import benchmarks
from flows.terminal.options import Call, Store, changed, command
from flows.terminal.printing import comparison_tables, print_output

models = typer.Typer()
models.add_typer(benchmarks, name="benchmark")


@command(models)
def promote(
    call: Call,
    windows: Annotated[
        str | None,
        typer.Option(
            help="Windows for the comparison (promote.benchmark). Default: the benchmark, else the windows on which"
            " each version was evaluated."
        ),
    ] = None,
) -> None:
    """Evaluate @challenger and @champion on the same windows, and make the challenger champion if it is better."""
    context = changed(call.context, "promote", benchmark=windows)
    from flows.promotion import promote_challenger  # imports MLflow, which takes seconds

    def evaluate(windows: str, model: str, baselines: str | None = None) -> Path:
        return run_stage("evaluate", context, windows=windows, model=model, baselines=baselines).path

    decision = promote_challenger(context, evaluate).model_dump(mode="json")
    print_output(call.as_json, decision, decision["headline"], *decision["notes"])


@command(models)
def rollback(call: Call, reason: Annotated[str, typer.Option(help=SHARED["reason"])]) -> None:
    """Swap @champion and @previous."""
    from flows.promotion import roll_back  # imports MLflow, which takes seconds

    outcome = roll_back(call.store, reason, getpass.getuser())
    moved = f"{outcome['name']}@champion is version {outcome['to']} again; {outcome['from']} is @previous"
    print_output(call.as_json, outcome, moved)


@command(models)
def compare(
    call: Call,
    models: Annotated[
        list[str],
        typer.Argument(
            help="Two or more models: folder or digest of a report or run, MLflow run id, or model URI. Each is"
            " compared with the first one."
        ),
    ],
) -> None:
    """Compare models on the same windows, with an interval for each difference."""
    from tasks.evaluate.compare import compare  # imports MLflow, which takes seconds

    comparison = compare(call.store, models)
    print_output(call.as_json, comparison.model_dump(mode="json"), *comparison_tables(comparison))


@command(models)
def lineage(
    call: Call, what: Annotated[str, typer.Argument(help="Model URI, folder or digest of a finished stage, or a file.")]
) -> None:
    """Show the inputs of a model version or stage, back to the source files, and the results made from a stage."""
    from flows.terminal.lineage import lineage_lines
    from tasks.maintenance.lineage import trace

    chain = trace(call.store, what)
    print_output(call.as_json, asdict(chain), *lineage_lines(chain))


@command(models)
def export(
    call: Call,
    model: Annotated[str, typer.Argument(help=SHARED["model"])],
    onnx: Annotated[bool, typer.Option("--onnx", help="Write one ONNX file.")] = False,
    hub: Annotated[
        bool, typer.Option("--hub", help="Write a folder for a model hub: weights, config and card.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(help="File or new folder to write. Default: named after the model, in the working directory."),
    ] = None,
    no_flip: Annotated[
        bool,
        typer.Option(
            "--no-flip", help="Export without flip averaging, at half the cost. Default: as the model was evaluated."
        ),
    ] = False,
) -> None:
    """Write a model as one ONNX file, checked with onnxruntime and kept by MLflow, or as a folder for a model hub."""
    if onnx == hub:
        raise InputError("pass either --onnx or --hub")
    if hub and no_flip:
        raise InputError("--no-flip needs --onnx; for --hub pass flip=False to pose_uplift.load_lifter")
    if hub:
        from tasks.serving.hub import export_folder

        written = export_folder(call.store, model, out or Path(_file_name(model)))
        return print_output(call.as_json, written, f"{written['folder']}: {', '.join(written['files'])}")
    from tasks.serving.onnx import export_model

    exported = export_model(call.store, model, out, flip=not no_flip)
    lines = [
        f"{exported['file']}: {exported['bytes']:,} bytes, {'with' if exported['flip'] else 'without'} flip averaging;"
        f" poses differ from PyTorch by at most {exported['difference']:.1g}",
        f"frames: {exported['frames']}",
    ]
    if "artifact" in exported:
        lines.append(f"MLflow: {exported['artifact']}")
    print_output(call.as_json, exported, *lines)


def _file_name(model: str) -> str:
    return "pose-uplift-" + "".join(letter if letter.isalnum() else "-" for letter in Path(model).stem).strip("-")


@models.command()
def serve(
    model: Annotated[
        str, typer.Argument(help=f"{SHARED['model']} If its alias moves, the server follows.")
    ] = "models:/pose-uplift@champion",
    store: Store = None,
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Port to listen on.")] = 5001,
) -> None:
    """Answer POST /lift (a keypoint file) and POST /invocations (arrays) until Ctrl-C; large requests are refused."""
    from tasks.serving.server import serve  # imports MLflow, which takes seconds

    serve(default_store(store), model, host, port)
