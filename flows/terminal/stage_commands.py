"""Commands of the stages, made from the table `flows.stages.STAGES`, and the commands `keypoints` and `lift`.

The first input of a stage is a positional argument; its other inputs are options. The help text of an input comes from
the docstring of the stage's `resolve` function.
"""

import inspect
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from data_contracts.detector_skeletons import Detector
from data_contracts.errors import InputError
from data_contracts.parameters import ExportFormat, KeypointsParameters, LiftParameters, Parameters
from data_contracts.store.folders import SHIPPED
from flows.prefect_ui.forms import SHARED, parameter_texts
from flows.stages import STAGES, TableRow, run_stage
from flows.terminal.options import Call, changed, command
from flows.terminal.printing import assumption_lines, people_table, print_output, print_stage
from tasks.lifting.track_lines import lines_of_keypoints
from tasks.tracking.models import default_model, is_in_mlflow

lifting = typer.Typer()


def add_stage_commands(app: typer.Typer) -> None:
    """Add a command to `app` for every stage of the table except `keypoints`, which is defined in this module."""
    for name, row in STAGES.items():
        if name != "keypoints":
            _add(app, name, row)


def texts(paths: list[Path] | None) -> str | list[str] | None:
    """Return paths in the form of stage inputs: one path as a string, several paths as a list."""
    strings = [str(path) for path in paths or []]
    return strings[0] if len(strings) == 1 else strings or None


def _add(app: typer.Typer, name: str, row: TableRow) -> None:
    helps = parameter_texts(row.resolve)

    def work(call: Call, **values: Any) -> None:
        values |= {key: texts(value) for key, value in values.items() if isinstance(value, list)}
        result = run_stage(name, call.context, **values)
        print_stage(result, call.as_json, row.next_command.format(result=call.reference(result), **values))

    _, first, *others = inspect.signature(row.resolve).parameters.values()
    parameters = [_typed(first, typer.Argument(help=helps[first.name]))]
    for other in others:
        parameters.append(_typed(other, typer.Option(f"--{other.name.replace('_', '-')}", help=helps[other.name])))
    call_parameter = inspect.Parameter("call", inspect.Parameter.KEYWORD_ONLY, annotation=Call)
    work.__name__, work.__doc__ = name, (inspect.getdoc(row.resolve) or "").partition("\n\n")[0]
    work.__signature__ = inspect.Signature([call_parameter, *parameters])  # type: ignore[attr-defined]  # typer reads it
    command(app)(work)


def _typed(parameter: inspect.Parameter, metadata: Any) -> inspect.Parameter:
    """Return a stage input as a typer parameter; an input of one or several paths becomes a list."""
    lists: dict[Any, Any] = {str | list[str]: list[Path], str | list[str] | None: list[Path] | None}
    kind = lists.get(parameter.annotation, parameter.annotation)
    return parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=Annotated[kind, metadata])


def _option(parameters: type[Parameters], name: str) -> Any:
    """Return a typer option whose help is the description of parameter `name`."""
    return typer.Option(help=parameters.model_fields[name].description)


@command(lifting)
def keypoints(
    call: Call,
    source: Annotated[
        Path,
        typer.Argument(
            help="Keypoint file of a 2D detector, folder with one JSON file per frame (OpenPose), or video."
        ),
    ],
    skeleton: Annotated[Detector | None, _option(KeypointsParameters, "skeleton")] = None,
) -> None:
    """Read the 2D keypoints of a detector, or detect keypoints in a video; write tracks of H36M joints in pixels."""
    context = changed(call.context, "keypoints", skeleton=skeleton)
    result = run_stage("keypoints", context, source=str(source))
    lines = lines_of_keypoints(result.statistics)
    print_stage(result, call.as_json, f"uplift lift {call.reference(result)}", lines)


def _export_formats(text: str) -> list[ExportFormat]:
    names = [name for part in text.split(",") if (name := part.strip().lower())]
    if unknown := sorted(set(names) - {*ExportFormat}):
        raise InputError(f"--export {unknown[0]}: unknown format; known formats: {', '.join(ExportFormat)}")
    return [ExportFormat(name) for name in dict.fromkeys(names)]


@command(lifting)
def lift(
    call: Call,
    source: Annotated[
        str, typer.Argument(help="Keypoint file or video, folder with such files, or digest of a keypoints stage.")
    ],
    model: Annotated[
        str | None, typer.Option(help=f"{SHARED['model']} Default: the champion, or shipped if there is no champion.")
    ] = None,
    height: Annotated[float | None, _option(LiftParameters, "height")] = None,
    person: Annotated[str | None, _option(LiftParameters, "person")] = None,
    skeleton: Annotated[Detector | None, _option(KeypointsParameters, "skeleton")] = None,
    fps: Annotated[float | None, _option(KeypointsParameters, "fps")] = None,
    fit: Annotated[bool | None, _option(LiftParameters, "fit")] = None,
    export: Annotated[
        str,
        typer.Option(
            help=f"Formats to write in addition to motion.npz, separated by commas: {', '.join(ExportFormat)}."
        ),
    ] = "",
    out: Annotated[Path | None, typer.Option(help="Folder to write to. Default: ./lifted/NAME.")] = None,
    causal: Annotated[
        bool, typer.Option("--causal", help="Use only earlier frames for each frame, as in live lifting.")
    ] = False,
) -> None:
    """Lift 2D keypoints of any detector to 3D motion in metres; write one folder per person."""
    formats = _export_formats(export)
    context = changed(call.context, "keypoints", skeleton=skeleton, fps=fps)
    context = changed(context, "lift", height=height, person=person, fit=fit, causal=causal or None)
    reference = model or default_model(call.store)
    context = replace(context, tracked=is_in_mlflow(reference))
    from flows.lifting import lift_files  # imports PyTorch and pandas, which take seconds

    outcome = lift_files(context, source, reference, formats, out)
    failed = [f"not lifted: {name}: {error}" for name, error in outcome["failed"].items()]
    closing = f"lifted by {outcome['model']}; open playing.html in the output folder"
    assumed = assumption_lines(outcome["files"])
    if model is None:
        no_champion = "the lifter of this package, because the registry has no champion"
        reason = no_champion if reference == SHIPPED else "the champion"
        assumed.insert(0, f"model: {outcome['model']} ({reason}); pass --model for another model")
    print_output(call.as_json, outcome, people_table(outcome["files"]), *assumed, *failed, closing)
    if failed:
        raise typer.Exit(1)
