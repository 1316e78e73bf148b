"""Export a motion to files for other tools; docs/keypoints.md describes the contents, units and axes of each format."""

from collections.abc import Callable, Sequence
from pathlib import Path

from data_contracts.errors import InputError
from data_contracts.motion.bounds import find_faults, summarise
from data_contracts.motion.motion import Motion, write_motion
from data_contracts.parameters import ExportFormat
from tasks.lifting.exports.bvh_file import write_bvh
from tasks.lifting.exports.glb_file import write_glb
from tasks.lifting.exports.text_files import write_csv, write_json, write_trc

Writer = Callable[[Motion, Path], None]

_WRITERS: dict[ExportFormat, Writer] = {
    ExportFormat.NPZ: write_motion,
    ExportFormat.JSON: write_json,
    ExportFormat.CSV: write_csv,
    ExportFormat.TRC: write_trc,
    ExportFormat.BVH: write_bvh,
    ExportFormat.GLB: write_glb,
}


def write_exports(motion: Motion, formats: Sequence[ExportFormat], folder: Path) -> list[Path]:
    """Write the motion to `motion.<format>` in each of the formats, and return the files in the order of `formats`.

    The folder is created if missing, and a repeated format is written once.

    Raises
    ------
    InputError
        A package for a format is missing, or the motion breaks its contract; no file is written in these cases. Or the
        motion is too long for a format.
    """
    writers = {folder / f"motion.{form}": _writer(form) for form in formats}
    for fault in find_faults(summarise([motion])).itertuples():
        raise InputError(f"{motion.name}: cannot be exported: {fault.check} is {fault.value}, expected {fault.bound}")
    folder.mkdir(parents=True, exist_ok=True)
    for path, write in writers.items():
        write(motion, path)
    return list(writers)


def _writer(form: ExportFormat) -> Writer:
    if form is ExportFormat.GIF:
        from tasks.lifting.exports.gif_file import write_gif  # imports matplotlib, which takes a second

        return lambda motion, path: write_gif([motion], path)
    if form is ExportFormat.C3D:
        try:
            from tasks.lifting.exports.c3d_file import write_c3d
        except ImportError as error:
            raise InputError(f"C3D needs {error.name}: pip install 'pose-uplift[exports]'") from error
        return write_c3d
    return _WRITERS[form]
