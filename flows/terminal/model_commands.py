"""The subcommands about models in the registry: which one leads, how they differ, where one comes from, its export."""

import getpass
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from data_contracts.errors import InputError
from flows.stages import Context
from flows.terminal.comparing import comparison_tables
from flows.terminal.options import MODEL_HELP, Call, changed, command
from flows.terminal.printing import console, print_json
from flows.terminal.running import computing, find_or_compute

models = typer.Typer()
benchmarks = typer.Typer(no_args_is_help=True, help="The windows that challenger and champion always meet on.")
models.add_typer(benchmarks, name="benchmark")


@command(models)
def promote(
    call: Call,
    windows: Annotated[
        str | None,
        typer.Option(
            "--windows", help="To meet on; as promote.benchmark. Default: the benchmark, or those each was scored on."
        ),
    ] = None,
) -> None:
    """Move @champion to @challenger if it is better on the same windows."""
    rules = changed(call.parameters.promote, "promote", {"benchmark": windows})
    context = Context(call.store, call.parameters.model_copy(update={"promote": rules}))
    with computing():
        from flows.promotion import promote_challenger  # imports MLflow, which takes seconds

        def evaluate(windows: str, model: str, baselines: str | None = None) -> Path:
            return find_or_compute(context, "evaluate", windows=windows, model=model, baselines=baselines).path

        decision = promote_challenger(context.store, context.parameters, evaluate).model_dump(mode="json")
    terminal = console(call.as_json)
    for line in (decision["headline"], *decision["notes"]):
        terminal.print(line, soft_wrap=True, highlight=False)
    print_json(call.as_json, decision)


@command(benchmarks, "set")
def set_benchmark(call: Call, windows: Annotated[str, typer.Argument(help="Folder or digest of windows.")]) -> None:
    """Name the windows that challenger and champion meet on from now on, by their split evaluate.split."""
    from tasks.promotion.benchmark import name_benchmark

    digest = name_benchmark(call.store, windows, call.parameters.evaluate.split)
    console(call.as_json).print(f"from now on versions meet on windows {digest}", highlight=False)
    print_json(call.as_json, {"benchmark": digest})


@command(benchmarks, "show")
def show_benchmark(call: Call) -> None:
    """The windows that challenger and champion meet on."""
    from tasks.promotion.benchmark import named_benchmark
    from tasks.tracking.runs import connect

    digest = named_benchmark(connect(call.store))
    told = f"versions meet on windows {digest}" if digest else "none is named: versions meet where each was scored"
    console(call.as_json).print(told, highlight=False)
    print_json(call.as_json, {"benchmark": digest})


@command(benchmarks, "unset")
def unset_benchmark(call: Call) -> None:
    """Name no windows any more: versions meet on those that each was scored on."""
    from tasks.promotion.benchmark import forget_benchmark

    forget_benchmark(call.store)
    console(call.as_json).print("none is named any more")
    print_json(call.as_json, {"benchmark": None})


@command(models)
def rollback(call: Call, reason: Annotated[str, typer.Option("--reason", help="Why; kept on both versions.")]) -> None:
    """@champion goes back to the version before it (@previous), and that to it."""
    with computing():
        from flows.promotion import roll_back  # imports MLflow, which takes seconds

        outcome = roll_back(call.store, reason, getpass.getuser())
    moved = f"{outcome['name']}@champion is version {outcome['to']} again; {outcome['from']} is @previous"
    console(call.as_json).print(moved)
    print_json(call.as_json, outcome)


@command(models)
def compare(
    call: Call,
    models: Annotated[
        list[str],
        typer.Argument(
            help="Two or more: folder or digest of a report or a run, MLflow run id, or model URI; each is set beside"
            " the first."
        ),
    ],
) -> None:
    """Models side by side on the same windows, each difference with its interval."""
    from tasks.evaluate.compare import compare  # what brings MLflow, which other commands need not wait for

    comparison = compare(call.store, models)
    console(call.as_json).print(*comparison_tables(comparison))
    print_json(call.as_json, comparison.model_dump(mode="json"))


@command(models)
def lineage(
    call: Call,
    what: Annotated[str, typer.Argument(help="Model URI, folder or digest of any finished stage, or a file.")],
) -> None:
    """Where a model version or a stage comes from, back to the files that were given; and what came of a stage."""
    from flows.terminal.lineage import lineage_lines
    from tasks.maintenance.lineage import trace

    found = trace(call.store, what)
    console(call.as_json).print(*lineage_lines(found), sep="\n", soft_wrap=True, highlight=False)
    print_json(call.as_json, asdict(found))


@command(models)
def export(
    call: Call,
    model: Annotated[str, typer.Argument(help=MODEL_HELP)],
    onnx: Annotated[bool, typer.Option("--onnx", help="As ONNX, the one format there is.")] = False,
    out: Annotated[
        Path | None, typer.Option("--out", help="Default: pose-uplift-VERSION.onnx, in the current folder.")
    ] = None,
    no_flip: Annotated[
        bool, typer.Option("--no-flip", help="Without flip averaging, at half the cost. Default: as it was scored.")
    ] = False,
) -> None:
    """A model as one ONNX file, checked with onnxruntime; that of a version is kept with its run."""
    if not onnx:
        raise InputError("export writes ONNX: pass --onnx")
    from tasks.serving.onnx import export_model

    exported = export_model(call.store, model, out, False if no_flip else None, call.parameters.evaluate.flip)
    to_person = console(call.as_json)
    to_person.print(
        f"{exported['file']}: {exported['bytes']:,} bytes, {'with' if exported['flip'] else 'without'} flip averaging;"
        f" poses as PyTorch's within {exported['difference']:.1g}\nframes: {exported['frames']}",
        soft_wrap=True,
        highlight=False,
    )
    if "artifact" in exported:
        to_person.print(f"kept as {exported['artifact']}", soft_wrap=True, highlight=False)
    print_json(call.as_json, exported)
