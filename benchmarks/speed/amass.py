"""Speed of posing the bodies of AMASS."""

import argparse
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import torch
from smplx.lbs import lbs

from benchmarks.speed.stages import ingest_clips, run_alone
from benchmarks.speed.timing import in_turn, print_rates
from data_contracts.parameters import IngestParameters, PipelineParameters, Workers
from tasks.ingest.amass.body_models import load_models
from tasks.stage import Context
from tests.tasks.ingest.amass.body_files import body_model, regressor_of, smplh_motion, walk

FILES, SECONDS, FPS = 40, 60, 120.0
A_BONE = 128  # vertices at each of 54 places: 6,912 in all, about the 6,890 of SMPL-H
SMPLX_FRAMES = 240  # the package smplx poses every vertex, so it gets fewer frames


def amass(options: argparse.Namespace) -> None:
    """Pose bodies of a generated model as large as SMPL-H, and ingest 40 compressed files of a minute at 120 Hz.

    First only the joints are posed, in one thread: with vertices summed per joint and bone, and with the package smplx,
    which poses all vertices. Then the whole stage ingest (digests, inflating, posing, contracts, Parquet, MLflow) runs
    in one process; its peak memory is that above the start.
    """
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        model, regressor = _write_model(folder / "models" / "smplh" / "male")
        _time_joints(folder, model, regressor, options.rounds)
        for number in range(FILES):
            path = folder / "AMASS" / "CMU" / f"{number % 8:02d}" / f"walk_{number}_poses.npz"
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savez_compressed(path, **smplh_motion(SECONDS, FPS, seed=number))
        size = sum(path.stat().st_size for path in (folder / "AMASS").rglob("*.npz"))
        parameters = PipelineParameters(
            ingest=IngestParameters(body_model=str(folder / "models")), workers=Workers(processes=1)
        )
        work = partial(ingest_clips, Context(folder / "store", parameters), folder / "AMASS")
        seconds, memory, result = min(run_alone(work, folder / "store") for _ in range(options.rounds))
        print(f"  whole stage, {FILES} files, {size / 1e6:.0f} MB")
        print(
            f"  {result.counts['frames'] / seconds:12,.0f} frames/s, peak {memory:,.0f} MB above the start", flush=True
        )


def _write_model(folder: Path) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Write a model and a regressor that weighs vertices around each joint and along its bones."""
    folder.mkdir(parents=True)
    model = body_model(a_bone=A_BONE)
    parents = model["kintree_table"][0].astype(np.int32)
    near = np.eye(len(parents)) + 0.2 * np.eye(len(parents))[np.maximum(parents, 0)]  # a bone and its parent
    model["J_regressor"], own = near @ model["J_regressor"], model["J_regressor"]
    regressor = regressor_of(model)
    regressor /= regressor.sum(axis=1, keepdims=True)
    model["J_regressor"] = own
    np.savez(folder / "model.npz", **model)
    np.save(folder / "J_regressor_h36m.npy", regressor)
    return model, regressor


def _time_joints(folder: Path, model: dict[str, np.ndarray], regressor: np.ndarray, rounds: int) -> None:
    files = sorted((folder / "models").rglob("*.np[yz]"))
    ((_, ours),) = load_models(tuple(files)).items()
    poses, trans = walk(SECONDS, FPS)
    betas = np.random.default_rng(0).normal(0, 1, 16)
    tensors = {name: torch.as_tensor(array, dtype=torch.float32) for name, array in model.items() if name != "part2num"}
    posedirs = tensors["posedirs"].reshape(-1, poses.shape[1] * 3 - 9).T.contiguous()
    parents = torch.as_tensor(model["kintree_table"][0].astype(np.int32).astype(np.int64))

    def by_smplx(frames: int) -> np.ndarray:
        joints = []
        for start in range(0, frames, 48):
            part = torch.as_tensor(poses[start : start + 48], dtype=torch.float32)
            shape = torch.as_tensor(betas, dtype=torch.float32).expand(len(part), -1)
            vertices, _ = lbs(
                shape, part, tensors["v_template"], tensors["shapedirs"], posedirs, tensors["J_regressor"], parents,
                tensors["weights"],
            )  # fmt: skip
            joints.append(torch.as_tensor(regressor, dtype=torch.float32) @ vertices)
        return torch.cat(joints).numpy() + trans[:frames, None]

    expected, found = by_smplx(SMPLX_FRAMES), ours.joints(betas).pose(poses, trans)
    if (error := float(np.abs(found[:SMPLX_FRAMES] - expected).max())) > 1e-4:  # smplx is in float32 here
        raise SystemExit(f"the joints differ by {error} m")
    ways = {
        "smplx, all vertices": partial(by_smplx, SMPLX_FRAMES),
        "summed vertices": lambda: ours.joints(betas).pose(poses, trans),
    }
    seconds = in_turn(ways, rounds)
    seconds["smplx, all vertices"] *= len(poses) / SMPLX_FRAMES
    print_rates(
        f"  joints alone, {len(poses):,} frames, difference {error * 1000:.4f} mm", seconds, len(poses), "frames"
    )
