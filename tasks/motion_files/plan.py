"""The first pass over a motion file: what moves in it, who, and how its arrays become metres with z up.

Only shapes, names and a few frames of each clip are kept, so a file of any size is planned in the memory of one array.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_contracts.parameters import IngestParameters, Layout
from tasks.motion_files.axes import decide_layout
from tasks.motion_files.clip_list import Labels, label_clips
from tasks.motion_files.evidence import Survey, check_evidence, legs_first_left
from tasks.motion_files.layouts import Motion, find_motions, is_amass_to_3dhpe
from tasks.motion_files.reading import read_motion_file


@dataclass(frozen=True)
class Plan:
    """Clips in file order with their labels, and how to take their arrays."""

    motions: list[Motion]
    labels: Labels
    layout: Layout
    legs_first_left: bool

    @property
    def warnings(self) -> list[str]:
        """What a person should know before trusting what comes out."""
        legs = "the file has the left leg first (SPIN's regressor): the legs were exchanged"
        return self.labels.warnings + ([legs] if self.legs_first_left else [])


class AbandonedError(Exception):
    """Nobody wants the plan any more."""


def plan_reading(
    source: Path, clip_list: Path | None, parameters: IngestParameters, abandoned: Callable[[], bool] = lambda: False
) -> Plan:
    """Read a motion file once and decide how to take it.

    Parameters
    ----------
    abandoned
        Asked at every array: whether to give up.

    Raises
    ------
    AbandonedError
        It was to give up.
    RefusedPickle
        The file is damaged, or asks for more than arrays and plain containers.
    InputError
        Its layout cannot be told; its unit or axis is not as declared; the clip list does not fit.
    """
    survey = Survey()

    def look_at(array: np.ndarray) -> object:
        if abandoned():
            raise AbandonedError
        return survey.add(array)

    tree = read_motion_file(source, look_at)
    motions = find_motions(source, tree)
    layout = decide_layout(source, [motion.shape for motion in motions], parameters.layout)
    evidence = survey.evidence(motions)
    check_evidence(source, evidence, parameters)
    swapped = is_amass_to_3dhpe(tree) and legs_first_left(evidence)
    return Plan(motions, label_clips(motions, clip_list, parameters), layout, swapped)
