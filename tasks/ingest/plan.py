"""The first pass over motion files: what moves in them, who, and how their arrays become metres with z up.

Each file is judged on its own: what its own arrays say of their layout, unit, axes and legs, and its own clip list of
who moves and how fast. One may have joints first and the next frames first; unit and up are declared once, and hold for
all. A file that cannot be read, or contradicts what is declared, is named, and none is ingested.

Only shapes, names and a few frames of each clip are kept, so files of any size are planned in the memory of one array.
"""

from bisect import bisect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from data_contracts.parameters import IngestParameters, Layout
from data_contracts.sources import MotionFile, short_names
from tasks.ingest.axes import decide_layout
from tasks.ingest.clip_list import ClipLabel, Labels, label_clips, label_warnings
from tasks.ingest.evidence import Survey, check_evidence, legs_first_left
from tasks.ingest.layouts import Motion, find_motions, is_amass_to_3dhpe
from tasks.ingest.reading import read_motion_file


@dataclass(frozen=True)
class FilePlan:
    """Clips of one file in its order with their labels, and how to take their arrays.

    `name` is what messages and tables call the file; `first` is the clip_id of its first clip.
    """

    file: MotionFile
    name: str
    first: int
    motions: list[Motion]
    labels: Labels
    layout: Layout
    legs_first_left: bool


@dataclass(frozen=True)
class Plan:
    """The files in their order, at least one; clips are numbered through all of them."""

    files: list[FilePlan]
    warnings: list[str]

    @cached_property
    def clips(self) -> list[ClipLabel]:
        """Labels of all clips; a clip's place is its clip_id."""
        return [clip for file in self.files for clip in file.labels.clips]

    def file_of(self, clip_id: int) -> int:
        """Place among `files` of the one that has this clip."""
        return bisect(self._firsts, clip_id) - 1

    @cached_property
    def _firsts(self) -> list[int]:
        return [file.first for file in self.files]


class AbandonedError(Exception):
    """Nobody wants the plan any more."""


def plan_reading(
    files: Sequence[MotionFile], parameters: IngestParameters, abandoned: Callable[[], bool] = lambda: False
) -> Plan:
    """Read motion files once and decide how to take each.

    Parameters
    ----------
    abandoned
        Asked at every array: whether to give up.

    Raises
    ------
    AbandonedError
        It was to give up.
    RefusedPickle
        A file is damaged, or asks for more than arrays and plain containers.
    InputError
        A file's layout cannot be told; its unit or axis is not as declared; its clip list does not fit.
    """
    planned: list[FilePlan] = []
    first = 0
    for file, name in zip(files, short_names([file.path for file in files]), strict=True):
        planned.append(_plan_file(file, name, first, parameters, len(files), abandoned))
        first += len(planned[-1].motions)
    legs = [file.name for file in planned if file.legs_first_left]
    warnings = label_warnings({file.name: file.labels for file in planned}, parameters)
    warnings += [f"{name}: has the left leg first (SPIN's regressor): the legs were exchanged" for name in legs]
    return Plan(planned, warnings)


def _plan_file(
    file: MotionFile, name: str, first: int, parameters: IngestParameters, files: int, abandoned: Callable[[], bool]
) -> FilePlan:
    survey = Survey()

    def look_at(array: np.ndarray) -> object:
        if abandoned():
            raise AbandonedError
        return survey.add(array)

    tree = read_motion_file(file.path, look_at)
    motions = find_motions(file.path, tree)
    layout = decide_layout(file.path, [motion.shape for motion in motions], parameters.layout)
    evidence = survey.evidence(motions)
    check_evidence(file.path, evidence, parameters, files)
    labels = label_clips(motions, file.clip_list, parameters, first)
    return FilePlan(file, name, first, motions, labels, layout, is_amass_to_3dhpe(tree) and legs_first_left(evidence))
