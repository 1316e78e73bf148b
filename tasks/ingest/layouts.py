"""Find the motions in the tree (nested lists and dicts) of a file, with names, subjects, frame rates and axes.

The first pass (`plan.Survey`) replaces each array by an `ArrayRef`, so the tree has shapes instead of arrays.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from data_contracts.errors import InputError
from data_contracts.other_files import kind_of_skeleton
from data_contracts.parameters import Layout
from data_contracts.skeleton import JOINTS, NUM_JOINTS
from tasks.ingest.formats.joint_sets import JOINT_SETS, is_joints_axis

LAYOUTS_READ = (
    "a list of arrays, a dict or .npz of arrays by name, a dict or .npz of `joints` (arrays, or one 4-d stack) with"
    " optional `names`, `subjects`, `actions` and `fps`, VideoPose3D's or AMASS-to-3DHPE's `positions_3d`, or a single"
    " array; an array is (17, frames, 3) or (frames, 17, 3), or has 22, 24, 28 or 32 joints, and a stack of them has 4"
    " axes"
)
AGREEMENT = 0.95  # minimum share of the votes for the order of the axes


@dataclass(frozen=True)
class ArrayRef:
    """Replacement of an array in the tree: its index in file order, its shape and, if short and 1-d, its values."""

    index: int
    shape: tuple[int, ...]
    values: np.ndarray | None = None


@dataclass(frozen=True)
class Motion:
    """One motion of a file."""

    array: int  # index of its array, in file order
    part: int | None  # index of the clip in a stack with 4 axes
    shape: tuple[int, ...]  # of the clip in the file; it may break the clip contract
    name: str = ""
    subject: str = ""
    action: str = ""
    fps: float | None = None


def find_motions(source: Path, tree: object) -> list[Motion]:
    """Return the motions of a file, in the order of its list or dict; a clip list must have the same order.

    `tree` has an `ArrayRef` for each array. Arrays that are not clips (e.g. empty arrays) are returned too, so that
    the clip contract puts them in quarantine.

    Raises
    ------
    InputError
        The layout is not one of `LAYOUTS_READ`, a name or frame rate is invalid, the number of names, subjects, actions
        or frame rates differs from that of the clips, or the same stack (4-d array of clips) occurs in two places.
    """
    motions = []
    parts: set[tuple[int, int]] = set()
    try:
        for motion in _find(tree, source.stem):
            if motion.part is not None:
                if (motion.array, motion.part) in parts:
                    raise InputError(_twice(tree))
                parts.add((motion.array, motion.part))
            motions.append(motion)
        if not any(is_clip(motion.shape) for motion in motions):
            raise _NoMotion
    except _NoMotion:
        found = f"no motion found in {_outline(tree)}{_hint(tree)}"
        raise InputError(f"{source}: {found}. Supported layouts: {LAYOUTS_READ}") from None
    except InputError as error:
        raise InputError(f"{source}: {error}") from None
    return motions


def _hint(tree: object) -> str:
    shape = tree.shape if isinstance(tree, ArrayRef) else ()
    if shape[-1:] == (2,):
        return ", which has 2D keypoints; pass it to `uplift lift`"
    if len(shape) == 2 and shape[1] == 263:
        return ", which has features of HumanML3D; pass the folder new_joints of HumanML3D instead"
    return f": {_other_skeleton(shape[1:])}" if len(shape) == 4 and shape[3] == 3 else ""


class _NoMotion(Exception):
    """The tree has none of the supported layouts."""


def is_amass_to_3dhpe(tree: object) -> bool:
    """Return whether AMASS-to-3DHPE wrote the file: a take in its `positions_3d` is a dict."""
    subjects = tree.get("positions_3d") if isinstance(tree, dict) else None
    takes = subjects.values() if isinstance(subjects, dict) else ()
    return any(isinstance(take, dict) for of_one in takes if isinstance(of_one, dict) for take in of_one.values())


def decide_layout(source: Path, shapes: Sequence[tuple[int, ...]], declared: Layout) -> Layout:
    """Return the order of the axes in a file: `declared` or, for AUTO, the order with 95 % of the votes.

    A shape votes for joints first if only its first axis has a known number of joints, and for frames first if only its
    second axis has one. Clips in another order are put in quarantine later. An InputError is raised if no shape has a
    known number of joints, AUTO finds no order with 95 % of the votes, or another order than `declared` has them.
    """
    clips = [shape for shape in shapes if is_clip(shape)]
    axes = [is_joints_axis(shape) for shape in clips]
    if clips and not any(map(any, axes)):
        raise InputError(f"{source}: {_other_skeleton(clips[0])}")
    votes = {Layout.JOINTS_FIRST: axes.count((True, False)), Layout.FRAMES_FIRST: axes.count((False, True))}
    winner = max(votes, key=lambda layout: votes[layout])
    is_decided = votes[winner] > 0 and votes[winner] >= AGREEMENT * sum(votes.values())
    counts = (
        f"{votes[Layout.JOINTS_FIRST]} of {len(shapes)} arrays have a known number of joints on the first axis only,"
        f" {votes[Layout.FRAMES_FIRST]} on the second only, {axes.count((True, True))} on both"
    )
    if declared is Layout.AUTO:
        if not is_decided:
            raise InputError(
                f"{source}: the shapes do not determine the order of the axes: {counts};"
                " pass --set ingest.layout=joints_first or --set ingest.layout=frames_first"
            )
        return winner
    if is_decided and winner is not declared:
        raise InputError(f"{source}: ingest.layout={declared}, but {counts}; pass --set ingest.layout={winner}")
    return declared


def _other_skeleton(shape: tuple[int, ...]) -> str:
    """Return why an array of this shape, (frames, joints, 3) or (joints, frames, 3), is refused."""
    joints = next((count for count in (shape[1], shape[0]) if kind_of_skeleton(count)), shape[1])
    kind = kind_of_skeleton(joints)
    return (
        f"an array {shape} has {joints} joints{f', as {kind}' if kind else ''}; only the"
        f" {NUM_JOINTS} or 32 joints of Human3.6M, 22 or 24 of SMPL, 28 of MPI-INF-3DHP and 17 of COCO are read;"
        f" convert the joints to the order {', '.join(JOINTS)}"
    )


def to_frames_first(array: np.ndarray, layout: Layout) -> np.ndarray:
    """Return a clip as (frames, joints, 3), with 17 joints if the skeleton is known; return other arrays unchanged."""
    if not is_clip(array.shape):
        return array
    poses = array.transpose(1, 0, 2) if layout is Layout.JOINTS_FIRST else array
    known = JOINT_SETS.get(poses.shape[1])
    return known.convert(poses) if known else poses


def is_clip(shape: tuple[int, ...]) -> bool:
    """Return whether an array of this shape may be one clip: three axes, the last one with three coordinates."""
    return len(shape) == 3 and shape[2] == 3


def is_stack(shape: tuple[int, ...]) -> bool:
    """Return whether an array of this shape is a stack (clips, ..., ..., 3) of clips with a known number of joints."""
    return len(shape) == 4 and shape[3] == 3 and 0 not in shape and any(is_joints_axis(shape[1:]))


def _find(tree: object, stem: str) -> Iterator[Motion]:
    if not isinstance(tree, dict):
        yield from _clips(tree)
    elif "positions_3d" in tree:
        yield from _find_takes(tree["positions_3d"], stem)
    elif "joints" in tree:
        yield from _describe(tree)
    else:
        for name, value in tree.items():
            yield from _named(_clips(value), _text(name))


def _clips(value: object) -> list[Motion]:
    """Return the motions of an array, of a stack, or of a list of arrays and stacks; else raise `_NoMotion`."""
    if isinstance(value, ArrayRef):
        if is_stack(value.shape):
            return [Motion(value.index, part, value.shape[1:]) for part in range(value.shape[0])]
        return [Motion(value.index, None, value.shape)]
    if isinstance(value, np.ndarray) and value.dtype == object and value.ndim == 1:
        value = value.tolist()
    if not isinstance(value, list | tuple) or not value or not all(isinstance(item, ArrayRef) for item in value):
        raise _NoMotion
    stacks = [item.index for item in value if is_stack(item.shape)]
    if len(set(stacks)) < len(stacks):  # checked before the clips are listed
        raise InputError(_twice(value))
    return [clip for item in value for clip in _clips(item)]


def _twice(tree: object) -> str:
    return f"one array of clips is in two places of {_outline(tree)}; store it once"


def _named(clips: list[Motion], name: str, **metadata: Any) -> list[Motion]:
    if len(clips) == 1:
        return [replace(clips[0], name=name, **metadata)]
    return [replace(clip, name=f"{name}_{part}", **metadata) for part, clip in enumerate(clips)]


def _find_takes(subjects: object, stem: str) -> Iterator[Motion]:
    """Yield the motions of {subject: {action: take}}; a take is one or more arrays, or a dict of AMASS-to-3DHPE."""
    if not isinstance(subjects, dict) or not all(isinstance(takes, dict) for takes in subjects.values()):
        raise _NoMotion
    for key, takes in subjects.items():
        for title, take in takes.items():
            subject, action = _text(key), _text(title)
            if isinstance(take, dict):
                subject, fps = f"{stem}_{subject}", _fps(take.get("frame_rate"))
                clips = _clips(take.get("positions_3d"))
                yield from _named(clips, f"{subject}_{action}", subject=subject, fps=fps)
            else:
                yield from _named(_clips(take), f"{subject}_{action}", subject=subject, action=action)


def _describe(tree: dict[Any, Any]) -> Iterator[Motion]:
    """Yield the motions of `tree["joints"]`; the keys for metadata have one value for all clips, or one per clip."""
    clips = _clips(tree["joints"])
    keys = [("names",), ("subjects", "subject"), ("actions", "action"), ("fps",)]
    columns = (_one_per_clip(tree, names, len(clips)) for names in keys)
    for clip, *texts, fps in zip(clips, *columns, strict=True):
        name, subject, action = ("" if text is None else _text(text) for text in texts)
        yield replace(clip, name=name, subject=subject, action=action, fps=_fps(fps))


def _one_per_clip(tree: dict[Any, Any], keys: tuple[str, ...], count: int) -> list[Any]:
    key = next((key for key in keys if key in tree), keys[0])
    value = tree.get(key)
    if isinstance(value, ArrayRef) and value.values is not None:
        value = value.values
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if not isinstance(value, list | tuple):
        return [value] * count
    if len(value) != count:
        raise InputError(f"{key} has {len(value)} values for {count} clips; expected one per clip, or one for all")
    return list(value)


def _text(value: object) -> str:
    is_text = isinstance(value, str) and value.isprintable() and len(value) <= 300
    if not is_text and not (isinstance(value, int | np.integer) and abs(int(value)) < 2**60):
        outline = ascii(value[:50]) if isinstance(value, str) else _outline(value)
        raise InputError(f"invalid name {outline}; expected up to 300 printable characters, or an integer")
    return str(value)


def _fps(value: object) -> float | None:
    number = value.item() if isinstance(value, np.generic | np.ndarray) and value.ndim == 0 else value
    if number is None:
        return None
    if isinstance(number, bool) or not isinstance(number, int | float) or not 0 < number <= 1000:
        outline = f"{number:g}" if isinstance(number, float) else _outline(number)
        raise InputError(f"the frame rate is {outline}; expected a number above 0 and at most 1000")
    return float(number)


def _outline(value: object, depth: int = 3) -> str:
    """Return the types, first keys and shapes of a tree (no values, three levels) for an error message."""
    if isinstance(value, ArrayRef):
        return f"array {value.shape}"
    if isinstance(value, np.ndarray):
        return f"{value.dtype.name} array {value.shape}"
    kind = type(value).__name__
    if not isinstance(value, dict | list | tuple):
        return kind
    items = []
    if isinstance(value, dict):
        for key in islice(value, 5 * bool(depth)):
            name = ascii(key)[:60] if isinstance(key, str) else type(key).__name__
            items.append(f"{name}: {_outline(value[key], depth - 1)}")
    elif depth:
        odd = (place for place, item in enumerate(value) if place > 2 and type(item) is not type(value[0]))
        items += [_outline(item, depth - 1) for item in value[:3]]
        items += [f"item {place}: {_outline(value[place], depth - 1)}" for place in islice(odd, 1)]
    more = ", ..." if 0 < len(items) < len(value) else ""
    return f"{kind} of {len(value)}" + (f" ({', '.join(items)}{more})" if items else "")
