"""Published benchmarks of 3D human pose: their evaluation protocols, and their pages with licence and registration.

Sources: 3DPW's readme.txt and its test split; README and `mpii_test_predictions.m` of MPI-INF-3DHP's test set (Mehta et
al., 3DV 2017); `run.py` and `prepare_data_h36m.py` of VideoPose3D (Pavllo et al., CVPR 2019) for Human3.6M.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from data_contracts.skeleton import JOINTS


class Benchmark(StrEnum):
    """Name of a benchmark on the command line."""

    THREE_DPW = "3dpw"
    MPI_INF_3DHP = "3dhp"
    H36M = "h36m"


@dataclass(frozen=True)
class Protocol:
    """Data and joints that a benchmark scores, relative to the pelvis; only P-MPJPE fits a rotation.

    `parts`: names of all sequences or, if `by_action`, all pairs `SUBJECT ACTION`. `joints`: names of the scored
    joints, from `JOINTS`; `joints_note`: the benchmark's own joints that correspond to them. `by_action`: the score is
    the unweighted mean of the scores of the actions; otherwise it is the mean over all frames.
    """

    title: str
    parts: frozenset[str]
    joints: tuple[str, ...]
    joints_note: str
    group: str  # name of the groups in tables
    by_action: bool
    page: str

    @property
    def indices(self) -> list[int]:
        """Indices of the scored joints in `JOINTS`."""
        return [JOINTS.index(joint) for joint in self.joints]


_COMMON_14 = tuple(joint for joint in JOINTS if joint not in ("pelvis", "spine", "nose"))
_DOWNTOWN = (
    *("arguing_00", "bar_00", "bus_00", "cafe_00", "car_00", "crossStreets_00", "downstairs_00", "enterShop_00"),
    *("rampAndStairs_00", "runForBus_00", "runForBus_01", "sitOnStairs_00", "stairs_00", "upstairs_00"),
    *("walkBridge_01", "walkUphill_00", "walking_00", "warmWelcome_00", "weeklyMarket_00", "windowShopping_00"),
)
_ACTIONS = (
    *("Directions", "Discussion", "Eating", "Greeting", "Phoning", "Photo", "Posing", "Purchases", "Sitting"),
    *("SittingDown", "Smoking", "Waiting", "WalkDog", "WalkTogether", "Walking"),
)

PROTOCOLS: Mapping[Benchmark, Protocol] = {
    Benchmark.THREE_DPW: Protocol(
        title="3DPW, test split, frames with a valid camera pose",
        parts=frozenset(f"downtown_{name}" for name in _DOWNTOWN)
        | {"flat_guitar_01", "flat_packBags_00", "office_phoneCall_00", "outdoors_fencing_01"},
        joints=_COMMON_14,
        joints_note="SMPL's joints of the limbs, its neck as thorax, and a head estimated from its neck and head. "
        "Published numbers often regress 14 joints from SMPL's mesh instead, with hips farther apart",
        group="sequence",
        by_action=False,
        page="https://virtualhumans.mpi-inf.mpg.de/3DPW/license.html",
    ),
    Benchmark.MPI_INF_3DHP: Protocol(
        title="MPI-INF-3DHP, test set TS1 to TS6, valid frames; 25 frames/s unless you pass --set keypoints.fps",
        parts=frozenset(f"TS{number}" for number in range(1, 7)),
        joints=_COMMON_14,
        joints_note="the 14 joints of its PCK, with its neck as thorax and its head top as head. The truth has the"
        " height of the universal skeleton (univ_annot3). Many papers take the MPJPE over 17 joints",
        group="sequence",
        by_action=False,
        page="https://vcai.mpi-inf.mpg.de/3dhp-dataset/",
    ),
    Benchmark.H36M: Protocol(
        title="Human3.6M, subjects S9 and S11, all cameras, all frames",
        parts=frozenset(f"{subject} {action}" for subject in ("S9", "S11") for action in _ACTIONS),
        joints=JOINTS,
        joints_note="as in VideoPose3D. MPJPE is protocol 1, P-MPJPE protocol 2",
        group="action",
        by_action=True,
        page="http://vision.imar.ro/human3.6m/",
    ),
}
