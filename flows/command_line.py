"""The `uplift` command: one subcommand per stage flow, and `pipeline`.

Exit code 0 only on success; a bad parameter, a missing file or a refused pickle ends with one line and exit code 2.
"""

import json
import logging
import os
import sys
import time
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("PREFECT_LOGGING_EXTRA_LOGGERS", "model,data_contracts")  # the learner, and who holds a lock
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")  # a busy machine takes its time

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from data_contracts.errors import InputError
from data_contracts.parameters import SYNTHETIC_SOURCE
from data_contracts.presets import load_preset
from data_contracts.report import METHODS, StageResult
from data_contracts.store import identities
from data_contracts.store.digests import Identity
from data_contracts.store.folders import default_store, find_stage, resolve, resolve_checkpoint

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)

Source = Annotated[Path, typer.Argument(help="AMASS pickle, .npz or .npy.")]
ClipList = Annotated[Path | None, typer.Option("--clip-list", help="Its clip_list.csv: who moves in which clip.")]
Store = Annotated[Path | None, typer.Option("--store", help="Root of the store; default UPLIFT_STORE, or ./store.")]
Preset = Annotated[str, typer.Option("--preset", help="demo, seed, motionbert, or a YAML file.")]
Overrides = Annotated[list[str] | None, typer.Option("--set", help="path.to.parameter=value; may be repeated.")]
AsJson = Annotated[bool, typer.Option("--json", help="Last line on stdout: one JSON object.")]
Windows = Annotated[str, typer.Argument(help="Folder or digest of a convert stage.")]


@app.command()
def ingest(
    source: Source,
    clip_list: ClipList = None,
    store: Store = None,
    preset: Preset = "demo",
    set_: Overrides = None,
    json_: AsJson = False,
) -> None:
    """Motion file -> clip store."""
    parameters, root = load_preset(preset, set_), default_store(store)
    _must_exist(source, clip_list)
    identity = identities.ingest(source, clip_list, parameters.ingest)
    result = _run_stage(
        root, "ingest", identity, source=str(source), clip_list=_text(clip_list), parameters=parameters.ingest
    )
    _show_stage(result, json_, f"uplift convert {_reference(result, root)}")


@app.command()
def convert(
    clips: Annotated[str, typer.Argument(help="Folder or digest of an ingest stage.")],
    store: Store = None,
    preset: Preset = "demo",
    set_: Overrides = None,
    json_: AsJson = False,
) -> None:
    """Clips -> H36M windows in Parquet, split by group."""
    parameters, root = load_preset(preset, set_), default_store(store)
    identity = identities.convert(resolve(root, "clips", clips), parameters.convert)
    result = _run_stage(
        root, "convert", identity, clips=clips, parameters=parameters.convert, workers=parameters.workers
    )
    _show_stage(result, json_, f"uplift pretrain {_reference(result, root)}")


@app.command()
def pretrain(
    windows: Windows,
    windows_2d: Annotated[
        str | None, typer.Option("--windows-2d", help="Windows of which only the 2D is learned from.")
    ] = None,
    store: Store = None,
    preset: Preset = "demo",
    set_: Overrides = None,
    json_: AsJson = False,
) -> None:
    """Masked pretraining of a DSTformer."""
    parameters, root = load_preset(preset, set_), default_store(store)
    only_2d = resolve(root, "windows", windows_2d) if windows_2d else None
    identity = identities.pretrain(resolve(root, "windows", windows), parameters.pretrain, only_2d)
    result = _run_stage(
        root,
        "pretrain",
        identity,
        windows=windows,
        parameters=parameters.pretrain,
        runtime=parameters.runtime,
        windows_2d=windows_2d,
    )
    _show_stage(result, json_, f"uplift finetune {windows} --pretrained {_reference(result, root)}")


@app.command()
def finetune(
    windows: Windows,
    pretrained: Annotated[
        str,
        typer.Option(
            "--pretrained", help="Run folder or digest, checkpoint (.safetensors, MotionBERT's .bin), or model URI."
        ),
    ],
    store: Store = None,
    preset: Preset = "demo",
    set_: Overrides = None,
    json_: AsJson = False,
) -> None:
    """Fine-tuning from a pretrained backbone."""
    parameters, root = load_preset(preset, set_), default_store(store)
    folder, checkpoint = resolve(root, "windows", windows), _local_checkpoint(root, pretrained)
    result = _run_stage(
        root,
        "finetune",
        identities.finetune(folder, checkpoint, parameters.finetune) if checkpoint else None,
        windows=windows,
        pretrained=pretrained,
        parameters=parameters.finetune,
        runtime=parameters.runtime,
    )
    _show_stage(result, json_, f"uplift evaluate {windows} --model {_reference(result, root)}")


@app.command()
def evaluate(
    windows: Windows,
    model: Annotated[
        str,
        typer.Option(
            "--model", help="Run folder or digest, checkpoint (.safetensors, MotionBERT's .bin), or model URI."
        ),
    ],
    store: Store = None,
    preset: Preset = "demo",
    set_: Overrides = None,
    json_: AsJson = False,
) -> None:
    """Evaluation on held-out people, beside the baselines."""
    parameters, root = load_preset(preset, set_), default_store(store)
    folder, checkpoint = resolve(root, "windows", windows), _local_checkpoint(root, model)
    result = _run_stage(
        root,
        "evaluate",
        identities.evaluate(folder, checkpoint, parameters.evaluate) if checkpoint else None,
        windows=windows,
        model=model,
        parameters=parameters.evaluate,
        runtime=parameters.runtime,
    )
    _show_stage(result, json_, "uplift promote")


@app.command()
def promote(
    windows: Annotated[
        str | None, typer.Option("--windows", help="Default: those the challenger was scored on.")
    ] = None,
    store: Store = None,
    preset: Preset = "demo",
    set_: Overrides = None,
    json_: AsJson = False,
) -> None:
    """Move @champion to @challenger if it is better on the same windows."""
    parameters, root = load_preset(preset, set_), default_store(store)
    decision = _flow("promote")(windows, parameters.promote, parameters.evaluate, parameters.runtime, str(root))
    _console(json_).print(f"{'promoted' if decision['promoted'] else 'not promoted'}: {decision['reason']}")
    _print_json(json_, decision)


@app.command()
def pipeline(
    source: Annotated[
        str, typer.Option("--source", help=f"AMASS pickle; {SYNTHETIC_SOURCE}: the embedded demo motion.")
    ] = SYNTHETIC_SOURCE,
    clip_list: ClipList = None,
    store: Store = None,
    preset: Preset = "demo",
    set_: Overrides = None,
    train_on: Annotated[
        str | None, typer.Option("--train-on", help="Train on this deployment's workers, e.g. cuda; default: here.")
    ] = None,
    json_: AsJson = False,
) -> None:
    """All stages, ending in pose-uplift@challenger in the MLflow registry."""
    parameters, root = load_preset(preset, set_), default_store(store)
    if source != SYNTHETIC_SOURCE:
        _must_exist(Path(source), clip_list)
    start = time.perf_counter()
    outcome = _flow("pipeline")(source, _text(clip_list), parameters, str(root), train_on)
    outcome["seconds"] = round(time.perf_counter() - start, 3)
    console, version = _console(json_), outcome["model"]
    console.print(_stage_table(outcome["stages"]), _score_table(outcome["metrics"]))
    console.print(f"registered {version['name']} version {version['version']} as {version['uri']}")
    console.print(
        f"\nlook at it:  .venv/bin/mlflow server --backend-store-uri sqlite:///{root / 'mlflow.db'}"
        f"\npromote it:  .venv/bin/uplift promote{'' if store is None else f' --store {root}'}",
        soft_wrap=True,
    )
    _print_json(json_, outcome)


@app.command()
def check(
    folder: Annotated[str, typer.Argument(help="Folder or digest of any finished stage.")],
    store: Store = None,
    json_: AsJson = False,
) -> None:
    """Check that a stage folder is as it was written: its manifest, every byte, and the contract of its kind."""
    from data_contracts.store.checking import (
        check_folder,  # brings pandera and Arrow, which other commands need not wait for
    )

    path = resolve(default_store(store), "*", folder)
    with Progress(console=Console(stderr=True), transient=True) as bar:
        line = bar.add_task(f"check {path.name}", total=1.0)
        checked = check_folder(path, lambda share: bar.update(line, completed=share))
    _console(json_).print(checked.describe(), soft_wrap=True, highlight=False)
    _print_json(json_, asdict(checked))


def main() -> None:
    """Entry point: runs the command, and turns a refused input into one line and exit code 2."""
    try:
        app()
    except InputError as error:
        logging.getLogger("prefect").setLevel(logging.ERROR)  # the refusal is the last line
        print(f"uplift: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)


def _run_stage(root: Path, name: str, identity: Identity | None, **arguments: Any) -> StageResult:
    """The stage's result from the store, where it is there already; else what its flow returns."""
    found = find_stage(root, identity) if identity else None
    if found:
        return StageResult.of(found)
    return _flow(name)(**arguments, store=str(root))


def _flow(name: str) -> Any:
    """The flow of a stage; Prefect, MLflow and PyTorch take seconds to import, so only a command that works does."""
    logging.getLogger("alembic").setLevel(logging.WARNING)
    flow = getattr(import_module(f"flows.{name}"), name)
    for handler in logging.getLogger().handlers:  # Prefect's console handler
        handler.addFilter(_Refusals())
    return flow


class _Refusals(logging.Filter):
    """Drops what Prefect logs about a refused input: the command says it once, in one line."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and isinstance(record.exc_info[1], InputError):
            return False
        return record.levelno < logging.ERROR or not any(
            name in record.getMessage() for name in ("InputError", "RefusedPickle")
        )


def _local_checkpoint(root: Path, model: str) -> Path | None:
    """The checkpoint file of a model that is not in MLflow."""
    return None if model.startswith(("models:/", "runs:/")) else resolve_checkpoint(root, model)


def _must_exist(*paths: Path | None) -> None:
    for path in paths:
        if path is not None and not path.is_file():
            raise InputError(f"{path}: no such file")


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _reference(result: StageResult, root: Path) -> str:
    """How to name a stage folder in the next command: its digest, where the default store will find it."""
    return result.digest if root == default_store() else result.folder


def _show_stage(result: StageResult, as_json: bool, next_command: str) -> None:
    console = _console(as_json)
    console.print(_stage_table({result.stage: result.model_dump()}))
    if "metrics" in result.statistics:
        console.print(_score_table(result.statistics["metrics"]))
    console.print(f"{result.folder}\nnext: {next_command}", soft_wrap=True)
    _print_json(as_json, result.summary())


def _stage_table(stages: dict[str, dict[str, Any]]) -> Table:
    table = Table("stage", "seconds", "what came out", title="stages")
    for name, stage in stages.items():
        counts = ", ".join(
            f"{key} {' / '.join(map(str, value.values())) if isinstance(value, dict) else value}"
            for key, value in stage["counts"].items()
        )
        if "val_mpjpe_mm" in stage["statistics"]:
            counts += f", validation MPJPE {stage['statistics']['val_mpjpe_mm']:.1f} mm"
        table.add_row(name, "cached" if stage["cached"] else f"{stage['seconds']:.1f}", counts)
    return table


def _score_table(metrics: dict[str, dict[str, float]]) -> Table:
    columns = ("MPJPE", "P-MPJPE", "PCK@150mm", "AUC", "MPJVE")
    table = Table("on held-out people", *columns, title="scores (MPJPE, P-MPJPE in mm; MPJVE in mm per frame)")
    for method in METHODS:
        scores = metrics[method]
        lengths = (f"{scores[name]:.1f}" for name in ("mpjpe_mm", "p_mpjpe_mm"))
        shares = (f"{100 * scores[name]:.1f} %" for name in ("pck_150", "auc_150"))
        row = (*lengths, *shares, f"{scores['mpjve_mm']:.2f}")
        table.add_row(method.replace("_", " "), *row, style="bold" if method == "model" else None)
    return table


def _console(as_json: bool) -> Console:
    return Console(stderr=as_json)


def _print_json(as_json: bool, outcome: dict[str, Any]) -> None:
    if as_json:
        print(json.dumps(outcome), flush=True)


if __name__ == "__main__":
    main()
