"""Write lifted motion to files: the output folder of `uplift lift`, and the exports of a motion.

- The folder has `person-0/motion.npz` and so on, the exports of each person, and the viewer. docs/keypoints.md
  describes the contents, units and axes of each export format.
- All files are written to a partial folder first. After a failure this folder is removed and earlier files are kept.
- A new folder appears complete, by one rename. In an existing folder the files of an earlier lifting are replaced.
  The folder itself is kept, because it may be a link, a mounted volume or the working directory of a shell.
- Only files that lifting writes are replaced. A folder that contains other files is refused, so that no file is lost.
"""

import fcntl
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from data_contracts.bounds import describe_fault
from data_contracts.errors import InputError, some
from data_contracts.motion.bounds import MotionSummary, find_faults
from data_contracts.motion.motion import MOTION_FILE, Motion, read_motion, write_motion
from data_contracts.parameters import ExportFormat
from tasks.lifting.exports.bvh_file import write_bvh
from tasks.lifting.exports.glb_file import write_glb
from tasks.lifting.exports.text_files import write_csv, write_json, write_trc
from tasks.viewer.evaluation_viewer import VIEWER_FILE

Writer = Callable[[Motion, Path], None]

_WRITERS: dict[ExportFormat, Writer] = {
    ExportFormat.NPZ: write_motion,
    ExportFormat.JSON: write_json,
    ExportFormat.CSV: write_csv,
    ExportFormat.TRC: write_trc,
    ExportFormat.BVH: write_bvh,
    ExportFormat.GLB: write_glb,
}
_PERSON = re.compile(r"person-\d+")
_FILES = {f"motion.{form}" for form in ExportFormat}
_PARTIAL = re.compile(r"\.lifting-[0-9a-f]{8}\.partial")  # being written, or left by a killed process


def write_people(lifted: Path, formats: Sequence[ExportFormat], out: Path) -> list[dict[str, object]]:
    """Write the people of a lift stage to `out` as `motion.npz` and in `formats`; an earlier lifting is replaced.

    Return one dict per person with `name`, number of `frames`, `fps`, `folder`, and the names of its `files`.

    Raises
    ------
    InputError
        `out` contains files that lifting did not write, or cannot be written, or a package for a format is missing.
    """
    must_be_replaceable(out)
    partial = (out if out.exists() else out.parent) / f".lifting-{uuid.uuid4().hex[:8]}.partial"
    try:
        partial.mkdir(parents=True)
        people = [_write_person(person, formats, partial / person.name, out) for person in _people(lifted)]
        shutil.copyfile(lifted / VIEWER_FILE, partial / VIEWER_FILE)
        _put_in_place(partial, out)
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror}); pass another --out") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return people


def must_be_replaceable(out: Path) -> None:
    """Raise an InputError if `out` is a file, cannot be read, or contains files that lifting did not write."""
    try:
        if not out.exists():
            return
        if not out.is_dir():
            raise InputError(f"{out}: is a file; pass an output folder with --out")
        with _locked(out):  # another lifting may be replacing files at this moment
            _refuse_other_files(out)
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror}); pass another --out") from error


def write_exports(motion: Motion, formats: Sequence[ExportFormat], folder: Path) -> list[Path]:
    """Write the motion to `motion.<format>` in each of the formats, and return the files in the order of `formats`.

    The folder is created if missing, and a repeated format is written once.

    Raises
    ------
    InputError
        A package for a format is missing, the motion breaks its contract, or it is too long for a format.
    """
    writers = {folder / f"motion.{form}": _writer(form) for form in formats}
    _refuse_faults(motion)
    folder.mkdir(parents=True, exist_ok=True)
    for path, write in writers.items():
        write(motion, path)
    return list(writers)


def write_file(motion: Motion, path: Path) -> Path:
    """Write the motion in the format that the extension of `path` names, and return `path`, or raise an InputError."""
    form = path.suffix.removeprefix(".").lower()
    if form not in {*ExportFormat}:
        raise InputError(f"{path}: unknown format {form!r}; known formats: {', '.join(ExportFormat)}")
    write = _writer(ExportFormat(form))
    _refuse_faults(motion)
    partial = path.with_name(f".{uuid.uuid4().hex[:8]}.{path.name}")
    try:
        write(motion, partial)
        partial.replace(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); pass another path") from error
    finally:
        partial.unlink(missing_ok=True)
    return path


def _refuse_faults(motion: Motion) -> None:
    for fault in find_faults([motion]).itertuples():
        raise InputError(
            f"{motion.name}: cannot be exported: {describe_fault(MotionSummary, fault)}; lift the keypoints again"
        )


def _writer(form: ExportFormat) -> Writer:
    if form is ExportFormat.GIF:
        from tasks.lifting.exports.gif_file import write_gif  # the import of matplotlib takes a second

        return lambda motion, path: write_gif([motion], path)
    if form is ExportFormat.C3D:
        try:
            from tasks.lifting.exports.c3d_file import write_c3d
        except ImportError as error:
            raise InputError(f"C3D needs {error.name}: pip install 'pose-uplift[exports]'") from error
        return write_c3d
    return _WRITERS[form]


def _write_person(source: Path, formats: Sequence[ExportFormat], folder: Path, out: Path) -> dict[str, object]:
    folder.mkdir()
    motion = read_motion(source / MOTION_FILE)
    write_exports(motion, formats, folder)
    shutil.copyfile(source / MOTION_FILE, folder / MOTION_FILE)
    files = sorted(file.name for file in folder.iterdir())
    place = str(out / source.name)
    return {"name": source.name, "frames": motion.frames, "fps": motion.fps, "folder": place, "files": files}


def _put_in_place(partial: Path, out: Path) -> None:
    if not out.exists():
        partial.rename(out)
        return
    with _locked(out):
        _refuse_other_files(out)
        new, before = sorted(partial.iterdir()), partial / "before"
        before.mkdir()
        for entry in [out / VIEWER_FILE, *_people(out)]:  # the viewer first: it never exists without its people
            with suppress(FileNotFoundError):
                entry.rename(before / entry.name)
        for entry in new:
            entry.rename(out / entry.name)


def _people(folder: Path) -> list[Path]:
    """Return the person folders that lifting wrote, in the order of their numbers."""
    named = (entry for entry in folder.iterdir() if _PERSON.fullmatch(entry.name) and not entry.is_symlink())
    people = [entry for entry in named if (entry / MOTION_FILE).is_file()]
    return sorted(people, key=lambda entry: int(entry.name.rpartition("-")[2]))


def _refuse_other_files(out: Path) -> None:
    """Raise an InputError if `out` has an entry that lifting did not write, or a viewer without a person folder."""
    people = _people(out)
    own = {*people, out / VIEWER_FILE} if people else set()
    others = [entry for entry in out.iterdir() if entry not in own and not _PARTIAL.fullmatch(entry.name)]
    others += [file for person in people for file in person.iterdir() if file.name not in _FILES or file.is_dir()]
    if others:
        names = some(sorted(str(entry.relative_to(out)) for entry in others))
        raise InputError(f"{out}: contains files that lifting did not write ({names}); pass another folder with --out")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold a lock while the block runs, so that no other lifting replaces files in the folder."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems cannot lock a folder
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
