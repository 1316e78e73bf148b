"""Read TRC in pixels, as Sports2D and Pose2Sim write it: one person, columns separated by tabs.

Line 1: file type. Lines 2 and 3: names and values of the header (DataRate, Units, ...). Line 4: Frame#, Time, and the
name of each marker above its three columns. Line 5: X1 Y1 Z1 ... Then one row per frame. A marker is missing if a field
is empty or nan. A file with other units than px contains 3D motion and is refused.
"""

import csv
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np

from data_contracts.errors import InputError
from data_contracts.parameters import KeypointFormat
from tasks.lifting.formats.detections import Detections, rate_and_size
from tasks.lifting.formats.names import arranged, skeleton_of_names
from tasks.lifting.formats.tables import read_rows, refuse_repeated, rows_of, whole_numbers

TRC_BEGINS = b"PathFileType"


def read_trc(path: Path) -> Detections:
    """Return the person in a TRC; the names of the markers determine the skeleton. A damaged TRC is an InputError."""
    with rows_of(path, delimiter="\t", quoting=csv.QUOTE_NONE) as rows:
        header = list(islice(rows, 5))
        if len(header) < 5:
            raise InputError(f"{path}: is cut off after line {len(header)}: expected five header lines, then frames")
        about = dict(zip(header[1], header[2], strict=False))
        unit = about.get("Units", "").strip().lower()
        if unit not in ("px", "pixel", "pixels"):
            raise InputError(f"{path}: line 3: Units: {unit[:20]!a}: expected px; a TRC in metres is 3D motion")
        names = [name.strip() for name in header[3][2::3]]
        while names and not names[-1]:
            names.pop()
        if not names or len(set(names)) < len(names):
            raise InputError(f"{path}: line 4: a marker has no name or the name of another marker; rename it")
        values = read_rows(path, rows, 2 + 3 * len(names), {*range(2 + 3 * len(names))}, set())[0]
    frames = whole_numbers(path, values[:, 0])
    refuse_repeated(path, frames)
    found = skeleton_of_names(names)
    if found is None:
        raise InputError(
            f"{path}: line 4: expected markers of hips, knees, ankles and shoulders (RHip, ...), and for the head Nose"
            " with Neck and Head, or with LEar and REar"
        )
    skeleton, keypoints = found
    of_markers = np.stack([values[:, 2::3], values[:, 3::3]], axis=-1)
    points = arranged(of_markers, names, keypoints)
    seen = ~np.isnan(points).any(axis=-1)
    detections = Detections(str(path), KeypointFormat.TRC, frames, points, seen.astype(float), skeleton=skeleton)
    rate: dict[str, float] = {}
    with suppress(KeyError, ValueError):
        rate["DataRate"] = float(about["DataRate"])
    return replace(detections, **rate_and_size(path, rate, ("DataRate", "width", "height")))
