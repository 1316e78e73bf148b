"""Load body models (SMPL-H or SMPL-X) of the user, reduced to what the 17 joints need.

A regressor (`J_regressor_h36m*.npy`, 17 x vertices) in the folder of the models gives the joints. Without a regressor,
they are points of the model's skeleton (`tasks.ingest.amass.skeleton_points`). The model files may not be distributed.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_contracts.errors import InputError, some
from data_contracts.motion.body_models import gender_of
from data_contracts.skeleton import NUM_JOINTS
from tasks.ingest.amass.motion_files import KINDS, BodyMotion
from tasks.ingest.amass.posing import SkinnedJoints
from tasks.ingest.amass.skeleton_points import SKELETON, skeleton_points
from tasks.ingest.plan import SWAPPED_LEGS
from tasks.ingest.reading import read_members, read_motion_file

LEFT_HIP, RIGHT_HIP = 1, 2  # bones
_KEYS = ("v_template", "shapedirs", "posedirs", "J_regressor", "weights", "kintree_table")
_MOST_BYTES = 2**30  # SMPL-X takes 230 MB
_SHAPES = {400: 300, 20: 10}  # columns of SMPL-X's shapedirs -> first columns, for the shape; the rest: expressions
_NO_PARENT = 2**32 - 1  # of the root in `kintree_table`

Models = dict[tuple[int, str], "BodyModel"]  # (bones, gender) -> model


@dataclass(frozen=True)
class BodyModel:
    """A body model, reduced to its bones at rest and to sums of its vertices per pair of an H36M joint and a bone."""

    parents: tuple[int, ...]
    rest: np.ndarray  # (bones, 3), metres: where each bone begins in the mean shape
    rest_shapes: np.ndarray  # (bones, 3, shapes), change of `rest` per shape parameter
    regressed: "RegressedPoints | None"  # None: points of the skeleton
    joints_from: str  # file name of the regressor, or `SKELETON`

    def joints(self, betas: np.ndarray) -> SkinnedJoints:
        """Return the joints of a body with shape parameters `betas` (b,); the model ignores those that it lacks."""
        betas = betas[: self.rest_shapes.shape[2]].astype(np.float64)
        rest = self.rest + self.rest_shapes[..., : len(betas)] @ betas
        if self.regressed is None:
            joint, bone, weight, point = skeleton_points(rest)
            return SkinnedJoints(self.parents, rest, joint, bone, weight, point, np.zeros((len(joint), 3, 0)))
        of = self.regressed
        point = of.point + of.point_shapes[..., : len(betas)] @ betas
        return SkinnedJoints(self.parents, rest, of.joint, of.bone, of.weight, point, of.correction)


@dataclass(frozen=True)
class RegressedPoints:
    """Weighted sums of a model's vertices per pair of a joint and a bone; see `SkinnedJoints`."""

    joint: np.ndarray
    bone: np.ndarray
    weight: np.ndarray
    point: np.ndarray
    point_shapes: np.ndarray  # (pairs, 3, shapes), change of `point` per shape parameter
    correction: np.ndarray
    vertices: int  # number of vertices that the regressor weighs


def model_of(motion: BodyMotion, models: Models) -> BodyModel:
    """Return the model of a motion; raise an InputError if no model has its kind and gender."""
    bones = motion.poses.shape[1] // 3
    model = models.get((bones, motion.gender))
    if model is None:
        known = [f"{KINDS[bones]} {gender}" for bones, gender in models]
        raise InputError(
            f"{motion.path}: needs the {motion.gender} body model of {KINDS[bones]}; add it to the folder of"
            f" --body-model, which has {some(known)}"
        )
    return model


def load_models(files: tuple[Path, ...]) -> Models:
    """Return the body models in untrusted files: one .npz per kind and gender; .npy files are regressors.

    Raises
    ------
    InputError
        A file is damaged, an array has a wrong shape, two models have the same kind and gender, or there is no model.
    """
    regressors = {}
    for path in files:
        if path.suffix == ".npy":
            regressor = _read_regressor(path)
            regressors[regressor.shape[1]] = path, regressor
    models: Models = {}
    places: dict[tuple[int, str], Path] = {}
    for path in files:
        arrays = read_members(path, _KEYS, _MOST_BYTES) if path.suffix == ".npz" else {}
        if "kintree_table" not in arrays or "v_template" not in arrays:
            continue  # e.g. a model of soft tissue (DMPL)
        bones = arrays["kintree_table"].shape[-1] if arrays["kintree_table"].ndim else 0
        if bones not in KINDS:
            continue  # e.g. SMPL, which AMASS does not use
        key = bones, str(gender_of(path))
        if key in models:
            raise InputError(f"{path} and {places[key]} are both {KINDS[bones]} {key[1]}; remove one of them")
        models[key], places[key] = _reduce(path, arrays, regressors), path
    if not models:
        raise InputError(
            f"{some(files)}: no body model SMPL-H or SMPL-X (52 or 55 joints) in these files; pass --body-model FOLDER"
        )
    return models


def _read_regressor(path: Path) -> np.ndarray:
    array = np.asarray(read_motion_file(path, lambda array: array))
    is_matrix = array.ndim == 2 and array.shape[0] == NUM_JOINTS and array.dtype.kind == "f"
    if not is_matrix or not np.isfinite(array).all():
        raise InputError(f"{path}: {array.dtype.name} {array.shape}; expected finite floats ({NUM_JOINTS}, vertices)")
    return array.astype(np.float64)


def _reduce(path: Path, arrays: dict[str, np.ndarray], regressors: dict[int, tuple[Path, np.ndarray]]) -> BodyModel:
    _check(path, arrays)
    template, shapes = arrays["v_template"], arrays["shapedirs"]
    shapes = shapes[..., : _SHAPES.get(shapes.shape[2], shapes.shape[2])]
    parents = arrays["kintree_table"][0].astype(np.int64)
    parents[(parents == _NO_PARENT) | (np.arange(len(parents)) == 0)] = -1
    if (parents[1:] < 0).any() or (parents >= np.arange(len(parents))).any():
        raise InputError(f"{path}: kintree_table lists a parent after its child; download the model again")
    bones = arrays["J_regressor"].astype(np.float64)
    rest = bones @ template
    rest_shapes = np.einsum("bv,vcs->bcs", bones, shapes, optimize=True)
    found = regressors.get(len(template))
    if found is None:
        return BodyModel(tuple(parents.tolist()), rest, rest_shapes, None, SKELETON)
    regressor = _legs_first_right(found[1], template, rest)
    regressed = _sum_vertices(regressor, template, shapes, arrays["posedirs"], arrays["weights"])
    return BodyModel(tuple(parents.tolist()), rest, rest_shapes, regressed, found[0].name)


def _check(path: Path, arrays: dict[str, np.ndarray]) -> None:
    bones, vertices = arrays["kintree_table"].shape[-1], len(arrays["v_template"])
    columns = arrays["shapedirs"].shape[-1] if arrays.get("shapedirs", np.zeros(())).ndim == 3 else 0
    shapes = {
        "v_template": (vertices, 3),
        "shapedirs": (vertices, 3, columns),
        "posedirs": (vertices, 3, 9 * (bones - 1)),
        "J_regressor": (bones, vertices),
        "weights": (vertices, bones),
        "kintree_table": (2, bones),
    }
    for name, shape in shapes.items():
        array = arrays.get(name, np.zeros(()))
        if array.shape != shape or array.dtype.kind not in "iuf" or not np.isfinite(array).all():
            raise InputError(f"{path}: {name} is {array.dtype.name} {array.shape}; expected finite numbers {shape}")


def _legs_first_right(regressor: np.ndarray, template: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """Return the regressor with rows 1-3 for the right leg: SPIN's regressor has the left leg there."""
    knee = regressor[2] @ template
    is_left = np.linalg.norm(knee - rest[LEFT_HIP]) < np.linalg.norm(knee - rest[RIGHT_HIP])
    return regressor[list(SWAPPED_LEGS)] if is_left else regressor


def _sum_vertices(
    regressor: np.ndarray, template: np.ndarray, shapes: np.ndarray, posedirs: np.ndarray, weights: np.ndarray
) -> RegressedPoints:
    columns: tuple[list[np.ndarray], ...] = ([], [], [], [], [], [])
    for joint, of_joint in enumerate(regressor):
        used = np.flatnonzero(of_joint)
        of_bones = of_joint[used, None] * weights[used]  # (vertices, bones)
        bones = np.flatnonzero(of_bones.any(axis=0))
        share = of_bones[:, bones].T.astype(np.float64)
        sums = (np.tensordot(share, array[used], 1) for array in (template, shapes, posedirs))
        pairs = (np.full(len(bones), joint), bones, share.sum(axis=1), *sums)
        for column, values in zip(columns, pairs, strict=True):
            column.append(values)
    joint_of, bone, weight, point, point_shapes, correction = map(np.concatenate, columns)
    used_vertices = int(regressor.any(axis=0).sum())
    return RegressedPoints(joint_of, bone, weight, point, point_shapes, correction.astype(np.float32), used_vertices)
