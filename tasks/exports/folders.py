"""The folder that a person asked for: `person-0/motion.npz` and the exports beside it, and the page that plays.

It is filled beside its place and renamed: what fails leaves nothing, and what stood there stays until all is written. A
folder that holds anything else is not replaced.
"""

import shutil
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

from data_contracts.errors import InputError, some
from data_contracts.motion.motion import MOTION_FILE, read_motion
from data_contracts.parameters import ExportFormat
from tasks.exports.writing import write_exports
from tasks.pages.playing import PLAYING_PAGE

_PERSON = "person-*"


def write_people(
    lifted: Path, formats: Sequence[ExportFormat], out: Path, on_person: Callable[[str], None] = lambda _: None
) -> list[dict[str, object]]:
    """Write the people of a lift stage's folder to `out`.

    Parameters
    ----------
    lifted
        Folder of the stage.
    formats
        Beside `motion.npz`.
    out
        Made where it is missing, replaced where it is of an earlier lifting.
    on_person
        Called with each person's name before it is written.

    Returns
    -------
    list of dict
        Of each person `name`, `frames`, `fps`, `folder` and the names of its `files`.

    Raises
    ------
    InputError
        `out` holds what no lifting wrote, or cannot be written; or a package that a format needs is not installed.
    """
    must_be_replaceable(out)
    partial = out.with_name(f".{out.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        partial.mkdir(parents=True)
        people = [_write_person(folder, formats, partial, out, on_person) for folder in _people(lifted)]
        shutil.copyfile(lifted / PLAYING_PAGE, partial / PLAYING_PAGE)
        _put_in_place(partial, out)
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror})") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return people


def must_be_replaceable(out: Path) -> None:
    """
    Raises
    ------
    InputError
        `out` is a file, or a folder that holds what no lifting wrote.
    """
    if not out.exists():
        return
    if not out.is_dir():
        raise InputError(f"{out}: is a file; pass the folder to write to with --out")
    own = {*out.glob(_PERSON), out / PLAYING_PAGE}
    if others := sorted(entry.name for entry in out.iterdir() if entry not in own):
        raise InputError(f"{out}: holds what no lifting wrote ({some(others)}); pass another folder with --out")


def _people(lifted: Path) -> list[Path]:
    return sorted(lifted.glob(_PERSON), key=lambda folder: int(folder.name.rpartition("-")[2]))


def _write_person(
    source: Path, formats: Sequence[ExportFormat], partial: Path, out: Path, on_person: Callable[[str], None]
) -> dict[str, object]:
    on_person(source.name)
    folder = partial / source.name
    folder.mkdir()
    shutil.copyfile(source / MOTION_FILE, folder / MOTION_FILE)
    motion = read_motion(source / MOTION_FILE)
    write_exports(motion, [form for form in formats if form is not ExportFormat.NPZ], folder)
    return {
        "name": source.name,
        "frames": motion.frames,
        "fps": motion.fps,
        "folder": str(out / source.name),
        "files": sorted(file.name for file in folder.iterdir()),
    }


def _put_in_place(partial: Path, out: Path) -> None:
    before = out.with_name(f"{partial.name}.before")
    if out.exists():
        out.rename(before)
    partial.rename(out)
    shutil.rmtree(before, ignore_errors=True)
