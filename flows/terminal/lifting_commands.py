"""The commands for people's own keypoints: `keypoints` reads them, `lift` makes motion of them."""

from pathlib import Path
from typing import Annotated

import typer

from data_contracts.detector_skeletons import Detector
from data_contracts.parameters import ExportFormat, KeypointsParameters
from data_contracts.presets import preset_and_overrides
from data_contracts.sources import find_keypoint_files, find_keypoints
from data_contracts.store import stage_keys
from data_contracts.store.folders import find_stage, resolve
from data_contracts.store.manifests import MANIFEST
from flows.stages import Context
from flows.terminal.options import MODEL_HELP, Call, changed, command, export_formats
from flows.terminal.printing import console, people_table, print_json, print_stage
from flows.terminal.running import find_or_run, local_checkpoint, run_flow
from tasks.lifting.video.detecting import detector_python

lifting = typer.Typer()


@command(lifting)
def keypoints(
    call: Call,
    source: Annotated[Path, typer.Argument(help="What a 2D detector wrote: a file, or OpenPose's folder; or a video.")],
    skeleton: Annotated[
        Detector | None, typer.Option("--skeleton", help="Its keypoints. Default: told by the file.")
    ] = None,
) -> None:
    """2D keypoints of any detector, or of a video -> tracks of people, H36M joints in pixels."""
    parameters = changed(call.parameters.keypoints, "keypoints", {"skeleton": skeleton})
    context = Context(call.store, call.parameters.model_copy(update={"keypoints": parameters}))
    given = find_keypoints(source)
    if given.is_video and not find_stage(call.store, stage_keys.keypoints(given, parameters)):
        detector_python(source)  # refuses a missing detector before a server starts
    result = find_or_run(context, "keypoints", source=str(source))
    print_stage(result, call.as_json, f"uplift lift {call.reference(result)}")


@command(lifting)
def lift(
    call: Call,
    source: Annotated[
        str, typer.Argument(help="What a 2D detector wrote; a folder of such files; or a keypoints stage's digest.")
    ],
    model: Annotated[str, typer.Option("--model", help=MODEL_HELP)] = "models:/pose-uplift@champion",
    height: Annotated[float | None, typer.Option("--height", help="Of the person, metres. Default: 1.70.")] = None,
    person: Annotated[
        str | None, typer.Option("--person", help="all, longest, largest, or the number of a track. Default: all.")
    ] = None,
    skeleton: Annotated[
        Detector | None, typer.Option("--skeleton", help="The keypoints. Default: told by the file.")
    ] = None,
    fps: Annotated[float | None, typer.Option("--fps", help="Of the video, where the file does not say.")] = None,
    export: Annotated[
        str, typer.Option("--export", help=f"Beside motion.npz, by commas: {', '.join(ExportFormat)}.")
    ] = "",
    out: Annotated[Path | None, typer.Option("--out", help="Folder to write to. Default: ./lifted/NAME.")] = None,
    causal: Annotated[
        bool, typer.Option("--causal", help="Each frame by what came before it alone, as it would be live.")
    ] = False,
) -> None:
    """2D keypoints of any detector -> motion in metres, a folder for each person."""
    formats = export_formats(export)
    parameters, reading = call.parameters.lift, call.parameters.keypoints
    wanted = {"height": height, "person": person, "causal": causal or None}
    parameters = changed(parameters, "lift", wanted)
    reading = changed(reading, "keypoints", {"skeleton": skeleton, "fps": fps})
    _refuse_early(call, source, reading, model, out)
    outcome = run_flow(
        "lift",
        source=source,
        model=model,
        export=formats,
        out=str(out) if out else None,
        store=str(call.store),
        **preset_and_overrides(call.parameters.model_copy(update={"lift": parameters, "keypoints": reading})),
    )
    to_person = console(call.as_json)
    to_person.print(people_table(outcome["files"]))
    for name, why in outcome["failed"].items():
        to_person.print(f"not lifted: {name}: {why}", soft_wrap=True)
    to_person.print(f"lifted by {outcome['model']}; open playing.html beside the people", soft_wrap=True)
    print_json(call.as_json, outcome)
    if outcome["failed"]:
        raise typer.Exit(1)


def _refuse_early(call: Call, source: str, reading: KeypointsParameters, model: str, out: Path | None) -> None:
    """What one look at the source, the model and the folder refuses, it refuses before a server is started."""
    # what brings pandas and Arrow, which other commands need not wait for
    from tasks.lifting.exports.folders import must_be_replaceable
    from tasks.lifting.formats.reading import read_keypoints

    local_checkpoint(call.store, model)
    path = Path(source)
    if not path.exists() and not source.isalnum():
        find_keypoints(path)  # says that it is not there: no digest looks like that
    if not path.exists() or (path / MANIFEST).is_file():
        resolve(call.store, "keypoints", source)
        return
    if find_keypoint_files(path) is not None:
        return  # each is refused on its own
    if out is not None:
        must_be_replaceable(out)
    given = find_keypoints(path)
    if find_stage(call.store, stage_keys.keypoints(given, reading)):
        return
    if given.is_video:
        detector_python(path)
    else:
        read_keypoints(given, reading)
