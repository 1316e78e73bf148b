"""Export a motion to files for other tools: `motion.<format>` in a folder.

- Files are written to a temporary folder and moved when all are complete. A failure or a kill leaves no partial file,
  and earlier files stay.
- docs/motion.md describes the contents, units and axes of each format.
"""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from data_contracts.errors import InputError
from data_contracts.motion.bounds import find_faults, summarise
from data_contracts.motion.motion import Motion, write_motion
from data_contracts.parameters import ExportFormat

Writer = Callable[[Motion, Path], None]


def write_exports(motion: Motion, formats: Sequence[ExportFormat], folder: Path) -> list[Path]:
    """Write the motion in each of the formats, and replace earlier files.

    Parameters
    ----------
    motion
        A motion that meets the contract of `data_contracts.motion`.
    formats
        Export formats; repeated formats are written once.
    folder
        Output folder, created if missing.

    Returns
    -------
    list of pathlib.Path
        `motion.<format>` for each format, in the order of `formats`.

    Raises
    ------
    InputError
        A package for a format is missing, the motion breaks its contract or is too long for a format, or the folder
        cannot be created. No file is written in these cases.
    """
    writers = {form: _writer(form) for form in formats}
    for fault in find_faults(summarise([motion])).itertuples():
        raise InputError(f"{motion.name}: cannot be exported: {fault.check} is {fault.value}, expected {fault.bound}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be created ({error.strerror})") from error
    with tempfile.TemporaryDirectory(prefix=".exports-", suffix=".partial", dir=folder) as partial:
        written = [Path(partial) / f"motion.{form}" for form in writers]
        for write, path in zip(writers.values(), written, strict=True):
            write(motion, path)
        return [path.replace(folder / path.name) for path in written]


def _writer(form: ExportFormat) -> Writer:
    """Return the writer of a format; imported on demand, because matplotlib takes a second and ezc3d is an extra."""
    match form:
        case ExportFormat.NPZ:
            return write_motion
        case ExportFormat.JSON:
            from tasks.lifting.exports.json_file import write_json

            return write_json
        case ExportFormat.CSV:
            from tasks.lifting.exports.csv_file import write_csv

            return write_csv
        case ExportFormat.TRC:
            from tasks.lifting.exports.trc_file import write_trc

            return write_trc
        case ExportFormat.BVH:
            from tasks.lifting.exports.bvh_file import write_bvh

            return write_bvh
        case ExportFormat.GLB:
            from tasks.lifting.exports.glb_file import write_glb

            return write_glb
        case ExportFormat.GIF:
            from tasks.lifting.exports.gif_file import write_gif

            return lambda motion, path: write_gif([motion], path)
        case ExportFormat.C3D:
            try:
                from tasks.lifting.exports.c3d_file import write_c3d
            except ImportError as error:
                raise InputError(f"C3D needs {error.name}: pip install 'pose-uplift[exports]'") from error
            return write_c3d
