"""Generate procedural human motion, the demo data: synthetic subjects walk, run, turn, jump, squat, reach and wave.

An action is a set of curves (`tasks.synthetic.actions`). A body with constant bone lengths follows the curves: legs by
inverse kinematics from the ankles, other joints by forward kinematics.
"""

import csv
import pickle
from pathlib import Path

import numpy as np

from data_contracts.parameters import SYNTHETIC_FILE, PipelineParameters
from data_contracts.skeleton import JOINTS
from data_contracts.store.folders import Stage
from tasks.stage import StageTask
from tasks.synthetic.actions import ACTIONS
from tasks.synthetic.curves import FPS, LEFT, RIGHT, SIGN, Body, Curves, ahead

CLIP_LIST_FILE = "synthetic_clip_list.csv"
CLIP_LIST_COLUMNS = ("clip_id", "fname", "clip_len", "subject", "action", "fps")

_JOINT = {name: index for index, name in enumerate(JOINTS)}
# unit vectors in the frame of the chest or the skull: x to the subject's right, y forward, z up
_NOSE = np.array([0.0, 0.60, 0.80])
_CROWN = np.array([0.0, -0.28, 0.96])
_SHOULDER = np.array([0.98, -0.03, -0.2])


def generate(seed: int = 0, people: int = 24, seconds: float = 8.0) -> tuple[list[np.ndarray], list[dict]]:
    """Generate one clip per subject and action.

    Subject i depends only on `seed` and i. A clip is 0.8 to 1.2 times `seconds` long.

    Returns
    -------
    list of numpy.ndarray
        One float64 array (17, frames, 3) per clip: metres, world frame, z up, 60 fps, joints in the order of
        `data_contracts.skeleton.JOINTS`.
    list of dict
        One row per clip: `clip_id`, `fname`, `clip_len` (frames), `subject`, `action`, `fps`.
    """
    clips: list[np.ndarray] = []
    rows: list[dict] = []
    for person in range(people):
        body, subject = _make_body(np.random.default_rng([seed, person])), f"synthetic_s{person:02d}"
        for index, (action, curves_of) in enumerate(ACTIONS.items()):
            rng = np.random.default_rng([seed, person, index + 1])
            frames = max(2, round(FPS * seconds * rng.uniform(0.8, 1.2)))
            joints = pose_body(body, curves_of(body, rng, np.arange(frames) / FPS))
            heading, start = _about(2, rng.uniform(0, 360, 1))[0], [*rng.uniform(-2, 2, 2), 0]
            name = f"{subject}_{action}_01"
            rows.append(dict(zip(CLIP_LIST_COLUMNS, (len(clips), name, frames, subject, action, FPS), strict=True)))
            clips.append(joints @ heading.T + start)
    return clips, rows


def write_pickle(folder: Path, seed: int = 0, people: int = 24, seconds: float = 8.0) -> tuple[Path, Path]:
    """Write the clips of `generate` in the layout of MotionBERT's AMASS pickle, and their clip list.

    The pickle (protocol 4) is a list of float64 arrays (17, frames, 3); the CSV has a row per clip. Return both paths.
    """
    clips, rows = generate(seed, people, seconds)
    folder.mkdir(parents=True, exist_ok=True)
    pickle_path, list_path = folder / SYNTHETIC_FILE, folder / CLIP_LIST_FILE
    with pickle_path.open("wb") as file:
        pickle.dump(clips, file, protocol=4)
    with list_path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, CLIP_LIST_COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return pickle_path, list_path


def _synthesise(stage: Stage, _: None, parameters: PipelineParameters) -> None:
    options = parameters.synthetic
    write_pickle(stage.folder, options.seed, options.people, options.seconds)
    stage.statistics |= {"synthetic": True}


SYNTHESISE = StageTask("synthesise", _synthesise, parameters="synthetic")


def pose_body(body: Body, curves: Curves) -> np.ndarray:
    """Return the joint positions (17, T, 3), metres, of a body that follows the curves of one clip."""
    joints = np.empty((len(JOINTS), len(curves.root), 3))
    pelvis = _bend(curves.pelvis)
    waist = pelvis @ _bend(0.5 * curves.trunk)
    chest = waist @ _bend(0.5 * curves.trunk)
    bent = curves.pelvis + curves.trunk
    skull = chest @ _bend(curves.head - 0.45 * bent * [1, 1, 0])  # the head compensates about half of the bend
    upright = _bend(bent * [0, 0, 1])

    hips = np.stack([pelvis @ [sign * body.hip_half, 0, 0] for sign in SIGN])
    joints[_JOINT["pelvis"]] = _within_reach(body, curves.root, hips, curves.ankles)
    joints[_JOINT["spine"]] = joints[_JOINT["pelvis"]] + waist @ [0, 0, body.lower_spine]
    joints[_JOINT["thorax"]] = thorax = joints[_JOINT["spine"]] + chest @ [0, 0, body.upper_spine]
    joints[_JOINT["nose"]] = thorax + skull @ (body.neck * _NOSE)
    joints[_JOINT["head"]] = joints[_JOINT["nose"]] + skull @ (body.skull * _CROWN)
    for side, name in ((RIGHT, "right"), (LEFT, "left")):
        hip = joints[_JOINT["pelvis"]] + hips[side]
        knee, ankle = _solve_leg(body, hip, curves.ankles[side], ahead(curves.feet[side]) + ahead(curves.pelvis[:, 2]))
        shoulder, elbow, wrist = _hang_arm(body, side, chest, upright, curves.arms[side])
        limbs = {"hip": hip, "knee": knee, "ankle": ankle}
        limbs |= {"shoulder": thorax + shoulder, "elbow": thorax + elbow, "wrist": thorax + wrist}
        for joint, position in limbs.items():
            joints[_JOINT[f"{name}_{joint}"]] = position
    return joints


def _within_reach(body: Body, root: np.ndarray, hips: np.ndarray, ankles: np.ndarray) -> np.ndarray:
    """Lower the root (T, 3) until both legs reach their ankles (2, T, 3); hips (2, T, 3) are relative to the root."""
    span = ankles - hips - root
    across = np.minimum(np.sum(span[..., :2] ** 2, axis=-1), (0.9 * body.leg) ** 2)
    limits = ankles[..., 2] - hips[..., 2] + np.sqrt((0.997 * body.leg) ** 2 - across)
    excess = np.maximum(root[:, 2] - limits.min(axis=0), 0)
    # Smooth over frames, so that the limiting leg can change without a jump.
    kernel = np.exp(-0.5 * (np.arange(-8, 9) / 2.5) ** 2)
    lowered = root.copy()
    lowered[:, 2] -= np.convolve(np.pad(excess, 8, mode="edge"), kernel / kernel.sum(), mode="valid")
    return lowered


def _solve_leg(body: Body, hip: np.ndarray, ankle: np.ndarray, forward: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return knee and ankle (T, 3) for a hip and a wanted ankle (T, 3); the knee bends towards `forward` (T, 2)."""
    span = ankle - hip
    distance = np.linalg.norm(span, axis=1, keepdims=True)
    along = span / distance
    reach, give = 0.998 * body.leg, 0.004 * body.leg  # soft limit, so that the knee does not extend abruptly
    distance = np.maximum(reach - give * np.logaddexp(0, (reach - distance) / give), 0.3 * body.leg)
    front = np.pad(forward, ((0, 0), (0, 1)))
    front -= np.sum(front * along, axis=1, keepdims=True) * along
    front /= np.linalg.norm(front, axis=1, keepdims=True)
    down = (body.thigh**2 - body.shin**2 + distance**2) / (2 * distance)
    knee = hip + down * along + np.sqrt(body.thigh**2 - down**2) * front
    return knee, hip + distance * along


def _hang_arm(
    body: Body, side: int, chest: np.ndarray, upright: np.ndarray, angles: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return shoulder, elbow, wrist (T, 3) relative to the thorax, for arm angles (T, 4) in degrees, `upright` axes."""
    flexion, abduction, twist, elbow_bend = angles.T
    sign = SIGN[side]
    upper = upright @ _about(1, -sign * abduction) @ _about(0, flexion) @ _about(2, sign * twist)
    fore = upper @ _about(0, (elbow_bend + np.hypot(elbow_bend, 8)) / 2)
    raised = np.clip((0.3 - upper[:, 2, 2]) / 1.3, 0, 1) ** 2  # the collar bone follows a raised arm
    shoulder = (chest @ _about(1, -sign * 24 * raised)) @ (body.shoulder_half * _SHOULDER * [sign, 1, 1])
    elbow = shoulder - body.upper_arm * upper[:, :, 2]
    return shoulder, elbow, elbow - body.forearm * fore[:, :, 2]


def _bend(angles: np.ndarray) -> np.ndarray:
    """Return rotations (T, 3, 3) for angles (forward bend, bend to the right, turn to the left), (T, 3) degrees."""
    return _about(2, angles[:, 2]) @ _about(1, angles[:, 1]) @ _about(0, -angles[:, 0])


def _about(axis: int, degrees: np.ndarray) -> np.ndarray:
    """Return right-handed rotations (T, 3, 3) about x, y or z (0, 1, 2) by angles (T,) in degrees."""
    angle, (i, j) = np.deg2rad(degrees), ((axis + 1) % 3, (axis + 2) % 3)
    matrix = np.zeros((len(angle), 3, 3))
    matrix[:, axis, axis] = 1
    matrix[:, i, i] = matrix[:, j, j] = np.cos(angle)
    matrix[:, j, i] = np.sin(angle)
    matrix[:, i, j] = -matrix[:, j, i]
    return matrix


def _make_body(rng: np.random.Generator) -> Body:
    """Draw a body of 1.5 to 1.95 m; bone lengths are shares of the stature, similar to the CMU subjects."""
    stature = float(np.clip(rng.normal(1.72, 0.11), 1.5, 1.95))
    leg, trunk, ankle, neck, skull = np.array([0.49, 0.31, 0.045, 0.08, 0.088]) * rng.uniform(0.94, 1.06, 5)
    scale = stature / (leg + trunk + ankle + neck * _NOSE[2] + skull * _CROWN[2])
    thigh, lower = rng.uniform(0.48, 0.52), rng.uniform(0.48, 0.54)
    return Body(
        stature=stature,
        hip_half=stature * rng.uniform(0.048, 0.060),
        thigh=scale * leg * thigh,
        shin=scale * leg * (1 - thigh),
        ankle=scale * ankle,
        lower_spine=scale * trunk * lower,
        upper_spine=scale * trunk * (1 - lower),
        neck=scale * neck,
        skull=scale * skull,
        shoulder_half=stature * rng.uniform(0.098, 0.122),
        upper_arm=stature * rng.uniform(0.155, 0.178),
        forearm=stature * rng.uniform(0.125, 0.148),
        stride=rng.uniform(0.9, 1.08),
        arm_swing=rng.uniform(0.6, 1.3),
        stoop=rng.uniform(-2, 10),
        toe_out=rng.uniform(2, 14),
    )
