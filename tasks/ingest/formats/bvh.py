"""Read BVH files: a hierarchy of joints, and their rotations over time, of any rig whose joint names are known.

`tasks.ingest.formats.kinematics` has the geometry. The file size bounds the memory, and numpy reads all frames in one
call.
"""

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import IO

import numpy as np

from data_contracts.errors import InputError
from tasks.ingest.formats.axes import CLEAR, MetricTree, OnArray, find_world, upright
from tasks.ingest.formats.cmu import correct_cmu
from tasks.ingest.formats.kinematics import Joint, poses_of
from tasks.ingest.formats.names import find_joints, require_joints
from tasks.ingest.formats.numbers import read_rows

_MOST_JOINTS = 1000
_LARGEST = 1e9
_NO_TURN = 0.01  # degrees
_MOST_LINES, _LONGEST_LINE = 20_000, 10_000  # of the hierarchy
_CHANNELS = {f"{axis}{kind}": (kind, axis) for kind in ("position", "rotation") for axis in "XYZ"}


def read_bvh(path: Path, on_array: OnArray) -> MetricTree:
    """Read a BVH file of one person.

    Parameters
    ----------
    on_array
        Called once with the joints (frames, 17, 3) in metres with z up; the returned value is put into the tree.

    Raises
    ------
    InputError
        A line is damaged, frames are missing, a joint of the body has no known name, or the body has no human size.
    """
    with path.open(encoding="latin-1") as file:
        joints, line = _read_hierarchy(path, file)
        frames, step, line = _read_size(path, file, line)
        columns = sum(len(joint.channels) for joint in joints)
        values = _finite(path, read_rows(path, file, frames, columns, line), line)
    names = [joint.name for joint in joints]
    found = find_joints(names)
    require_joints(path, found, names)
    correct_cmu(joints, found)
    poses, rest = poses_of(joints, found, values[_begins_at_rest(joints, values) :])
    axis, clarity = upright(rest)
    world = find_world(path, poses, axis if clarity >= CLEAR else "y")
    about = f"BVH of {len(joints)} joints, unit {world.unit}, {world.up} up"
    return MetricTree(about, joints=on_array(world.apply(poses)), names=path.stem, fps=_rate(step))


def _begins_at_rest(joints: list[Joint], values: np.ndarray) -> bool:
    """Return whether the first frame is the rest pose, as in CMU's files and those of many programs."""
    turns = [column for joint in joints for column in joint.columns("rotation").values()]
    return len(values) > 1 and bool((np.abs(values[0, turns]) < _NO_TURN).all())


def _rate(step: float) -> float:
    """Return frames per second for `step` seconds; 0.033333 s means 30, but 0.033367 s means 29.97."""
    whole = round(1 / step)
    return float(whole) if abs(whole * step - 1) < 5e-4 else 1 / step


def _read_hierarchy(path: Path, file: IO[str]) -> tuple[list[Joint], int]:
    """Return the joints, parents first, and the number of the line MOTION."""
    joints: list[Joint] = []
    open_joints: list[int] = []  # -1: an end site
    column, number = 0, 0
    for number, words in _statements(file):
        match words:
            case ["HIERARCHY"] | ["{"]:
                pass
            case ["MOTION"] if joints and not open_joints:
                return joints, number
            case ["ROOT", *name] if name and not joints:
                joints.append(Joint(" ".join(name), -1))
                open_joints.append(0)
            case ["JOINT", *name] if name and open_joints and len(joints) < _MOST_JOINTS:
                joints.append(Joint(" ".join(name), open_joints[-1]))
                open_joints.append(len(joints) - 1)
            case ["End", "Site", *_] if open_joints:
                open_joints.append(-1)
            case ["}"] if open_joints:
                open_joints.pop()
            case ["OFFSET", x, y, z] if open_joints:
                if open_joints[-1] >= 0:
                    joints[open_joints[-1]].offset = np.array([_number(path, number, text) for text in (x, y, z)])
            case ["CHANNELS", count, *channels] if open_joints and open_joints[-1] >= 0 and count == str(len(channels)):
                known = [_CHANNELS.get(channel) for channel in channels]
                if None in known or len(set(known)) < len(known) or joints[open_joints[-1]].channels:
                    raise InputError(
                        f"{path}: line {number}: CHANNELS {' '.join(channels)[:60]!a}: expected one CHANNELS line per"
                        f" joint, with each of {', '.join(_CHANNELS)} at most once"
                    )
                joints[open_joints[-1]].channels = [channel for channel in known if channel]
                joints[open_joints[-1]].first = column
                column += len(channels)
            case _:
                text = ascii(" ".join(words)[:60])
                raise InputError(
                    f"{path}: line {number}: {text} is not expected here; expected one ROOT with at most {_MOST_JOINTS}"
                    " joints, each with OFFSET, CHANNELS and braces, then MOTION"
                )
    raise InputError(f"{path}: line {number}: no MOTION in the first {_MOST_LINES} lines; export the file again")


def _statements(file: IO[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield the line number and the words of each statement; each brace is a separate statement."""
    for number, line in enumerate(islice(iter(lambda: file.readline(_LONGEST_LINE), ""), _MOST_LINES), start=1):
        for part in re.split(r"([{}])", line.removeprefix("\xef\xbb\xbf")):
            if words := part.split():
                yield number, words


def _read_size(path: Path, file: IO[str], line: int) -> tuple[int, float, int]:
    """Return the number of frames, the seconds per frame, and the number of the last line read."""
    found: dict[str, float] = {}
    for name in ("Frames", "Frame Time"):
        text = "\n"
        while text.isspace():
            text, line = file.readline(_LONGEST_LINE), line + 1
        key, _, value = text.partition(":")
        if key.strip() != name:
            raise InputError(f"{path}: line {line}: expected {name}: NUMBER, found {text[:40]!a}")
        found[name] = _number(path, line, value)
    frames, step = found["Frames"], found["Frame Time"]
    if not 1 <= frames < 2**31 or frames % 1 or not 0.001 <= step <= 10:
        raise InputError(
            f"{path}: line {line}: Frames: {frames:g}, Frame Time: {step:g}; expected at least one frame, and 0.001 to"
            " 10 seconds per frame"
        )
    return int(frames), step, line


def _number(path: Path, line: int, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = np.nan
    if not abs(value) < _LARGEST:
        raise InputError(f"{path}: line {line}: {text.strip()[:30]!a} is not a number below 1e9")
    return value


def _finite(path: Path, values: np.ndarray, line: int) -> np.ndarray:
    bad = ~(np.abs(values) < _LARGEST).all(axis=1)  # NaN too
    if bad.any():
        frame = int(bad.argmax())
        raise InputError(f"{path}: line {line + 1 + frame}: frame {frame} has a value that is not a number below 1e9")
    return values
