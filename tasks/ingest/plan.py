"""Read motion files a first time and plan the ingest: motions, labels, layout and conversion to metres with z up.

- Each file has its own layout and its own clip list; unit and up axis are declared once for all files.
- One unreadable file, or one that contradicts the declared parameters, stops the ingest; the error names it.
- The first pass keeps only shapes, names and a few frames of each clip, so it needs the memory of one array.
"""

from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from data_contracts.parameters import IngestParameters, Layout
from data_contracts.sources import MotionFile, short_names
from tasks.ingest.axes import decide_layout
from tasks.ingest.clip_list import ClipLabel, Labels, label_clips, label_warnings
from tasks.ingest.evidence import Survey, check_evidence, legs_first_left
from tasks.ingest.layouts import Motion, find_motions, is_amass_to_3dhpe
from tasks.ingest.reading import read_motion_file


@dataclass(frozen=True)
class FilePlan:
    """Motions of one file with their labels, and the layout of its arrays.

    `name` is the name of the file in messages and tables; `first` is the clip_id of its first clip.
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
    """Plans of all files, at least one, in order; clip ids count across all files."""

    files: list[FilePlan]
    warnings: list[str]

    @cached_property
    def clips(self) -> list[ClipLabel]:
        """Return the labels of all clips; the index of a clip is its clip_id."""
        return [clip for file in self.files for clip in file.labels.clips]

    def file_of(self, clip_id: int) -> int:
        """Return the index in `files` of the file that contains this clip."""
        return bisect(self._firsts, clip_id) - 1

    @cached_property
    def _firsts(self) -> list[int]:
        return [file.first for file in self.files]


def plan_reading(files: Sequence[MotionFile], parameters: IngestParameters) -> Plan:
    """Read motion files once and plan how the second pass reads each.

    Parameters
    ----------
    files
        Motion files, with their clip lists.
    parameters
        Declared layout, unit and up axis, and the rules for groups.

    Raises
    ------
    RefusedPickle
        A file is damaged, or contains more than arrays and plain containers.
    InputError
        A file's layout is ambiguous, its unit or up axis differs from the declared one, or its clip list does not
        match.
    """
    planned: list[FilePlan] = []
    first = 0
    for file, name in zip(files, short_names([file.path for file in files]), strict=True):
        planned.append(_plan_file(file, name, first, parameters, len(files)))
        first += len(planned[-1].motions)
    legs = [file.name for file in planned if file.legs_first_left]
    warnings = label_warnings({file.name: file.labels for file in planned}, parameters)
    warnings += [f"{name}: joints 1-3 are the left leg, as in SPIN's regressor; the legs were swapped" for name in legs]
    return Plan(planned, warnings)


def _plan_file(file: MotionFile, name: str, first: int, parameters: IngestParameters, files: int) -> FilePlan:
    survey = Survey()
    tree = read_motion_file(file.path, survey.add)
    motions = find_motions(file.path, tree)
    layout = decide_layout(file.path, [motion.shape for motion in motions], parameters.layout)
    evidence = survey.evidence(motions)
    check_evidence(file.path, evidence, parameters, files)
    labels = label_clips(motions, file.clip_list, parameters, first)
    return FilePlan(file, name, first, motions, labels, layout, is_amass_to_3dhpe(tree) and legs_first_left(evidence))
