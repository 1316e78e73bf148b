"""TRC in pixels: files of Sports2D, and damaged files."""

import numpy as np
import pytest

from data_contracts.detector_skeletons import Detector
from data_contracts.errors import InputError
from data_contracts.parameters import KeypointsParameters
from data_contracts.sources import find_keypoints
from tasks.lifting.formats.reading import read_keypoints

SIDED = [f"{side}{part}" for side in "RL" for part in ("Hip", "Knee", "Ankle", "Shoulder", "Elbow", "Wrist", "BigToe")]
NAMES = ["Hip", *SIDED, "Neck", "Head", "Nose"]


def trc(unit="px", names=NAMES, rate="60"):
    """12 frames; marker m of frame f is at 100 + m, 200 + f; marker 3 is missing in frame 2."""
    header = "DataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits\tOrigDataRate"
    lines = ["PathFileType\t4\t(X/Y/Z)\tv.trc", header, f"{rate}\t60\t12\t{len(names)}\t{unit}\t60"]
    lines += ["Frame#\tTime\t" + "\t\t\t".join(names) + "\t\t"]
    lines += ["\t\t" + "\t".join(f"{axis}{m + 1}" for m in range(len(names)) for axis in "XYZ")]
    for frame in range(12):
        fields = [(f"{100 + m}.5", f"{200 + frame}", "0.0") for m in range(len(names))]
        fields[3] = ("", "", "") if frame == 2 else fields[3]
        lines.append("\t".join([str(frame), f"{frame / 60:.4f}", *(text for field in fields for text in field)]))
    return "\n".join(lines)


def read(folder, text):
    (folder / "p.trc").write_text(text)
    (found,), _ = read_keypoints(find_keypoints(folder / "p.trc"), KeypointsParameters())
    return found


def test_markers_become_the_keypoints_of_their_names(tmp_path):
    found = read(tmp_path, trc())
    assert (found.skeleton, found.fps) == (Detector.HALPE26, 60)
    assert found.person is None
    right_knee, neck, left_eye = 14, 18, 1
    np.testing.assert_allclose(found.points[5, right_knee], (102.5, 205))
    np.testing.assert_allclose(found.points[5, neck], (100.5 + NAMES.index("Neck"), 205))
    assert found.confidence[5, right_knee] == 1
    assert found.confidence[2, 16] == 0  # right ankle
    assert not found.confidence[:, left_eye].any()
    ears = [name for name in NAMES if name not in ("Neck", "Head")] + ["LEar", "REar"]
    assert read(tmp_path, trc(names=ears)).skeleton is Detector.COCO17


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (trc("m"), "Units: 'm'"),
        (trc(names=["Hip", *SIDED[:-6]]), "line 4"),
        (trc(names=["Hip", *NAMES]), "line 4"),
        (trc(rate="-3"), "DataRate"),
        (trc().replace("205", "nix"), "line 11"),
        (trc().replace("205", "1e300"), "frame 5"),
        (trc().replace("205", "inf"), "frame 5"),
        (trc().replace("\n5\t", "\n4\t"), "frame 4: occurs twice"),
        (trc().replace("\n5\t", "\n-5\t"), "frame -5"),
        (trc().replace("\n5\t", "\n5.5\t"), "Frame#"),
        (trc()[:40], "cut off"),
        (trc()[:-40], "line 17"),
    ],
)
def test_damaged_file_is_refused_with_the_place(text, message, tmp_path):
    with pytest.raises(InputError, match=message) as refused:
        read(tmp_path, text)
    assert "p.trc" in str(refused.value)
