"""Commands for the keypoints of users: `keypoints` reads them, `lift` turns them into motion."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from data_contracts.detector_skeletons import Detector
from data_contracts.parameters import ExportFormat
from flows.stages import run_stage
from flows.terminal.options import MODEL_HELP, Call, changed, command, export_formats
from flows.terminal.printing import people_table, print_output, print_stage
from tasks.tracking.models import is_in_mlflow

lifting = typer.Typer()
_SKELETON_HELP = "Skeleton of the keypoints. Default: detected from the file."


@command(lifting)
def keypoints(
    call: Call,
    source: Annotated[
        Path,
        typer.Argument(
            help="Keypoint file of a 2D detector, folder with one JSON file per frame (OpenPose), or video."
        ),
    ],
    skeleton: Annotated[Detector | None, typer.Option(help=_SKELETON_HELP)] = None,
) -> None:
    """Read the 2D keypoints of a detector, or detect keypoints in a video; write tracks of H36M joints in pixels."""
    context = changed(call.context, "keypoints", skeleton=skeleton)
    result = run_stage("keypoints", context, source=str(source))
    print_stage(result, call.as_json, f"uplift lift {call.reference(result)}")


@command(lifting)
def lift(
    call: Call,
    source: Annotated[
        str, typer.Argument(help="Keypoint file or video, folder with such files, or digest of a keypoints stage.")
    ],
    model: Annotated[str, typer.Option(help=MODEL_HELP)] = "models:/pose-uplift@champion",
    height: Annotated[float | None, typer.Option(help="Height of the person in metres. Default: 1.70.")] = None,
    person: Annotated[
        str | None, typer.Option(help="Track to lift: all, longest, largest, or the number of a track. Default: all.")
    ] = None,
    skeleton: Annotated[Detector | None, typer.Option(help=_SKELETON_HELP)] = None,
    fps: Annotated[
        float | None, typer.Option(help="Frames per second of the video, if the file does not contain it.")
    ] = None,
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
    formats = export_formats(export)
    context = changed(call.context, "keypoints", skeleton=skeleton, fps=fps)
    context = changed(context, "lift", height=height, person=person, causal=causal or None)
    context = replace(context, tracked=is_in_mlflow(model))
    from flows.lifting import lift_files  # imports PyTorch and pandas, which take seconds

    outcome = lift_files(context, source, model, formats, out)
    failed = [f"not lifted: {name}: {error}" for name, error in outcome["failed"].items()]
    closing = f"lifted by {outcome['model']}; open playing.html in the output folder"
    print_output(call.as_json, outcome, people_table(outcome["files"]), *failed, closing)
    if failed:
        raise typer.Exit(1)
