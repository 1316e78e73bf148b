"""Mutated motion files of AMASS, as `benchmarks.fuzz_readers` and tests read them."""

import io
import random
import zipfile
from pathlib import Path

import numpy as np

from data_contracts.errors import InputError
from tasks.ingest.amass.body_models import Models, model_of
from tasks.ingest.amass.motion_files import read_body_motion
from tests.tasks.ingest.amass.body_files import smplh_motion, smplx_motion
from tests.tasks.ingest.file_mutants import changed
from tests.tasks.ingest.motion_files import header, npy

Members = dict[str, bytes]  # name -> .npy

HOSTILE = [
    npy(np.array({"a": 1}, dtype=object)),
    npy(np.array(["x", 1], dtype=object)),
    header("(99999999, 156)"),
    header("(99999999999999999999, 3)"),
    *(
        npy(array)
        for array in (np.zeros((0, 156)), np.zeros((2, 72)), np.zeros(()), np.zeros((3, 156, 1)), np.zeros(3))
    ),
    *(npy(np.full((3, width), value)) for width in (3, 156, 165) for value in (np.nan, np.inf, 1e300)),
    *(npy(np.array(value)) for value in (-120.0, 0, np.nan, np.inf, 1e9, True, "fast", b"male", "unknown", b"\xff")),
    npy(np.zeros((3, 156), np.complex64)),
    npy(np.zeros((3, 156), ">f2")),
    npy(np.asfortranarray(np.ones((3, 156)))),
]


def motion_seeds() -> list[Members]:
    """Return small valid motion files of both sets of keys."""
    whole = smplx_motion(0.03)
    parts = np.concatenate(
        [whole[name] for name in ("root_orient", "pose_body", "pose_jaw", "pose_eye", "pose_hand")], 1
    )
    motions = [smplh_motion(0.025), smplh_motion(0.025, gender=np.array("female")), whole, whole | {"poses": parts}]
    return [{name: npy(np.asarray(array)) for name, array in motion.items()} for motion in motions]


def mutant_motion(generator: random.Random, seeds: list[Members]) -> bytes:
    """Return an .npz with a changed, exchanged, hostile or missing member, or with changed bytes."""
    members, corpus = dict(generator.choice(seeds)), [data for seed in seeds for data in seed.values()]
    for _ in range(generator.randint(0, 2)):
        name, kind = generator.choice(list(members)), generator.randrange(4)
        if kind == 0:
            members[name] = changed(generator, members[name], corpus)
        elif kind == 1:
            members[name] = generator.choice(HOSTILE)
        elif kind == 2:
            members[name] = generator.choice(corpus)
        elif len(members) > 1:
            del members[name]
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", generator.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])) as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    data = file.getvalue()
    return data if generator.randrange(2) else changed(generator, data, corpus)


def pose_mutant(path: Path, models: Models) -> str:
    """Read and pose a motion file as the stage does, and return the outcome."""
    try:
        motion = read_body_motion(path)
        if motion is None:
            return "no poses"
        with np.errstate(all="ignore"):
            joints = model_of(motion, models).joints(motion.betas).pose(motion.poses, motion.trans)
    except InputError as error:
        text = str(error)
        is_clean = text.isprintable() and len(text) < 1000 and str(path) in text
        return "refused" if is_clean else f"FINDING: unclear refusal {text[:100]!r}"
    shape, kind = (len(motion.poses), 17, 3), joints.dtype
    is_clean = joints.shape == shape and kind == np.float32 and 0 < motion.fps <= 1000
    return "posed" if is_clean else f"FINDING: joints {joints.shape} {kind} at {motion.fps} frames per second"
