"""The folder that a person asked for: `person-0/motion.npz` and the exports beside it, and the page that plays.

Notable decisions:
- all is written before anything is put in place: what fails leaves nothing, and what stood there stays until then;
- a folder that is not there yet appears whole, by one rename. In one that is there what an earlier lifting wrote is
  replaced and the folder itself stays: it may be a link, a mounted volume, or where somebody's shell stands;
- an earlier lifting's is what it would write, file by file, and nothing that only has such a name: a folder that holds
  anything else is refused, because it would be lost.
"""

import fcntl
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from data_contracts.errors import InputError, some
from data_contracts.motion.motion import MOTION_FILE, read_motion
from data_contracts.parameters import ExportFormat
from tasks.lifting.exports.writing import write_exports
from tasks.viewer.evaluation_viewer import VIEWER_FILE

_PERSON = re.compile(r"person-\d+")
_FILES = {f"motion.{form}" for form in ExportFormat}
_PARTIAL = re.compile(r"\.lifting-[0-9a-f]{8}\.partial")  # being written, or left by what was killed


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
        Made where it is missing; what an earlier lifting wrote there is replaced.
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
    partial = (out if out.exists() else out.parent) / f".lifting-{uuid.uuid4().hex[:8]}.partial"
    try:
        partial.mkdir(parents=True)
        people = [_write_person(folder, formats, partial, out, on_person) for folder in _people(lifted)]
        shutil.copyfile(lifted / VIEWER_FILE, partial / VIEWER_FILE)
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
    try:
        if not out.exists():
            return
        if not out.is_dir():
            raise InputError(f"{out}: is a file; pass the folder to write to with --out")
        with _alone(out):  # what another lifting is replacing is neither here nor there
            _must_hold_no_other(out)
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror})") from error


def _must_hold_no_other(out: Path) -> None:
    if others := _others(out):
        raise InputError(f"{out}: holds what no lifting wrote ({some(others)}); pass another folder with --out")


def _people(folder: Path) -> list[Path]:
    """The folders that a lifting wrote, or its stage, in the order of their numbers."""
    found = (entry for entry in folder.iterdir() if _PERSON.fullmatch(entry.name) and not entry.is_symlink())
    people = [entry for entry in found if (entry / MOTION_FILE).is_file()]
    return sorted(people, key=lambda entry: int(entry.name.rpartition("-")[2]))


def _others(out: Path) -> list[str]:
    """Names of what is in a folder and is not an earlier lifting's; a page without people is none's."""
    people = _people(out)
    own = {*people, out / VIEWER_FILE} if people else set()
    around = [entry for entry in out.iterdir() if entry not in own and not _PARTIAL.fullmatch(entry.name)]
    within = [file for person in people for file in _entries(person) if file.name not in _FILES or file.is_dir()]
    return sorted(str(entry.relative_to(out)) for entry in around + within)


def _entries(folder: Path) -> list[Path]:
    """What is in it; nothing, where another lifting has replaced it meanwhile."""
    try:
        return list(folder.iterdir())
    except FileNotFoundError:
        return []


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
    if not out.exists():
        partial.rename(out)
        return
    with _alone(out):
        _must_hold_no_other(out)  # it may have changed since
        new, before = sorted(partial.iterdir()), partial / "before"
        before.mkdir()
        for entry in [out / VIEWER_FILE, *_people(out)]:  # who looks meanwhile sees no page without people
            with suppress(FileNotFoundError):
                entry.rename(before / entry.name)
        for entry in new:
            entry.rename(out / entry.name)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """While the block runs no other lifting puts its people into the folder."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems lock no folder
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
