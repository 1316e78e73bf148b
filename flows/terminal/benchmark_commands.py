"""Commands of `uplift benchmark`: set the windows of comparisons, and score models on published benchmarks."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from data_contracts.benchmarks.files import find_benchmark
from data_contracts.benchmarks.protocols import Benchmark
from flows.prefect_ui.forms import SHARED
from flows.terminal.options import Call, command
from flows.terminal.printing import benchmark_table, print_output, print_stage
from tasks.tracking.models import default_model, is_in_mlflow

benchmarks = typer.Typer(
    no_args_is_help=True,
    help="Set the windows on which promote compares versions, or score models on published benchmarks.",
)

_WITHOUT_WINDOWS = "versions are compared on the windows on which each was evaluated"


@command(benchmarks, "import")
def import_benchmark(
    call: Call,
    name: Annotated[Benchmark, typer.Argument(help="3DPW, MPI-INF-3DHP or Human3.6M.")],
    path: Annotated[
        Path, typer.Argument(help="Folder with the benchmark's files, or one preprocessed .npz (VideoPose3D, P-STMO).")
    ],
) -> None:
    """Make an evaluation set of a published benchmark from your copy of its files; nothing is downloaded."""
    source = find_benchmark(name, path)
    from tasks.benchmarks.importing import import_files, protocol_lines  # imports SciPy, which takes a second

    result = import_files(call.context, source)
    lines = [*protocol_lines(result.statistics), f"licence: {result.statistics['licence']}"]
    print_stage(result, call.as_json, f"uplift benchmark score {call.reference(result)}", lines)


@command(benchmarks)
def score(
    call: Call,
    benchmark: Annotated[str, typer.Argument(help="Folder or digest of an imported benchmark.")],
    model: Annotated[
        str | None, typer.Option(help=f"{SHARED['model']} Default: the champion, or shipped if there is no champion.")
    ] = None,
) -> None:
    """Score a model on an imported benchmark by the protocol of the benchmark."""
    reference = model or default_model(call.store)
    from tasks.benchmarks.scoring import score_benchmark  # imports PyTorch, which takes seconds

    result = score_benchmark(replace(call.context, tracked=is_in_mlflow(reference)), benchmark, reference)
    statistics = result.statistics
    lines = [*statistics["protocol"], f"model: {statistics['model']}", result.folder]
    print_output(call.as_json, result.summary(), benchmark_table(statistics["benchmark_scores"]), *lines)


@command(benchmarks, "set")
def set_benchmark(call: Call, windows: Annotated[str, typer.Argument(help="Folder or digest of windows.")]) -> None:
    """Compare challenger and champion on these windows (split evaluate.split) from now on."""
    from tasks.promotion.comparison import name_benchmark

    digest = name_benchmark(call.store, windows, call.context.parameters.evaluate.split)
    print_output(call.as_json, {"benchmark": digest}, f"versions are compared on windows {digest} from now on")


@command(benchmarks, "show")
def show_benchmark(call: Call) -> None:
    """Show the windows on which challenger and champion are compared."""
    from tasks.promotion.comparison import named_benchmark
    from tasks.tracking.runs import connect

    digest = named_benchmark(connect(call.store))
    line = f"versions are compared on windows {digest}" if digest else f"no windows are set: {_WITHOUT_WINDOWS}"
    print_output(call.as_json, {"benchmark": digest}, line)


@command(benchmarks, "unset")
def unset_benchmark(call: Call) -> None:
    """Stop using fixed windows for promotion: versions are compared on the windows of their evaluations."""
    from tasks.promotion.comparison import remove_benchmark

    remove_benchmark(call.store)
    print_output(call.as_json, {"benchmark": None}, _WITHOUT_WINDOWS)
