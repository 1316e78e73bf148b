"""Speed of lifting and of the exports."""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.speed.timing import in_turn, print_rates
from data_contracts.motion.motion import Motion
from data_contracts.parameters import ExportFormat, LiftParameters, Projection
from data_contracts.parameters.presets import load_preset
from data_contracts.tracks.track import Track
from model.lifting.cameras import PinholeCamera
from model.lifting.lift import lift_people
from model.lifting.lifter import Lifter
from model.lifting.live import LiveLifter
from model.network.network import PoseNetwork
from model.training.checkpoints import save_network
from tasks.convert.cameras import Camera, rotation_matrix
from tasks.lifting.exports.writing import write_exports
from tasks.synthetic.motion import generate

WIDTH, HEIGHT, FOCAL = 1280, 720, 1100.0
FRAMES, LIVE_FRAMES, EXPORTED = 6000, 300, 1000


def lifting(options: argparse.Namespace) -> None:
    """Compare the network alone, on windows without overlap, with lifting 6,000 frames, without and with the fit.

    The weights are random, because speed does not depend on them. The time of a live frame, in ms, is also printed.
    """
    torch.set_num_threads(2)
    for name in ("demo", "dstformer"):
        preset = load_preset(name)
        window = preset.convert.window
        config = preset.pretrain.network.model_copy(update={"max_frames": window, "dim_out": 3})
        network, track = PoseNetwork(config, preset.finetune.head).eval(), walking_track()
        plain, flipped = Lifter(network, window, 60.0, False), Lifter(network, window, 60.0, True)
        ways = {
            "network alone": lambda network=network, track=track, window=window: run_network(network, track, window),
            "windows end to end, no flip": lambda lift=plain, track=track, window=window: lift_people(
                lift, [track], LiftParameters(stride=window, fit=False)
            ),
            "overlapping windows, no flip": lambda lift=plain, track=track: lift_people(
                lift, [track], LiftParameters(fit=False)
            ),
            "overlapping windows, flip": lambda lift=flipped, track=track: lift_people(
                lift, [track], LiftParameters(fit=False)
            ),
            "with the fit of the video (default)": lambda lift=flipped, track=track: lift_people(
                lift, [track], LiftParameters()
            ),
        }
        print_rates(f"  preset {name}", in_turn(ways, options.rounds), FRAMES, "frames")
        live = sorted(live_seconds(flipped, track))
        late = 1000 * live[int(0.99 * len(live))]
        print(f"  live: {1000 * live[len(live) // 2]:.1f} ms at the median, {late:.1f} ms at the 99th percentile")


def cold(options: argparse.Namespace) -> None:
    """Compare `uplift lift` of 1,000 frames in a new process with a process that only imports PyTorch.

    The store is empty and the weights of preset `demo` are random. Seconds are CPU time of the new processes.
    """
    preset = load_preset("demo")
    config = preset.pretrain.network.model_copy(update={"max_frames": preset.convert.window, "dim_out": 3})
    with tempfile.TemporaryDirectory() as name:
        checkpoint, keypoints = Path(name, "model.safetensors"), Path(name, "walk.npy")
        save_network(checkpoint, PoseNetwork(config, preset.finetune.head), {"window": preset.convert.window})
        np.save(keypoints, walking_track().pose_2d[:EXPORTED])

        def lift() -> None:
            with tempfile.TemporaryDirectory() as folder:
                words = ["lift", str(keypoints), "--model", str(checkpoint), "--skeleton", "h36m17", "--fps", "60"]
                run(["-m", "flows.cli", *words, "--store", f"{folder}/store", "--out", f"{folder}/lifted"])

        seconds = in_turn({"import": lambda: run(["-c", "import torch"]), "lift": lift}, options.rounds, cpu_seconds)
    print(f"  import torch {seconds['import']:.1f} s, lift {seconds['lift']:.1f} s of CPU time")


def run(arguments: list[str]) -> None:
    """Run Python in a new process."""
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)


def cpu_seconds() -> float:
    """Return the CPU seconds of all processes that this process has started and waited for."""
    times = os.times()
    return times.children_user + times.children_system


def walking_joints(frames: int) -> np.ndarray:
    """Return the joints (frames, 17, 3) of synthetic subjects who walk, one after the other; metres."""
    clips, rows = generate(seed=0, people=4, seconds=12.0)
    poses = [clip.transpose(1, 0, 2) for clip, row in zip(clips, rows, strict=True) if row["action"] == "walking"]
    joints = np.concatenate([pose - pose[:, :1].mean(axis=0) for pose in poses])
    return np.tile(joints, (-(-frames // len(joints)), 1, 1))[:frames]


def walking_track() -> Track:
    """Return a track of `FRAMES` frames in a perspective camera."""
    rotation = rotation_matrix(0.5, 0.1)
    joints = Camera(rotation, -5 * rotation[2], Projection.PERSPECTIVE).to_camera(walking_joints(FRAMES))
    points = joints[..., :2] / joints[..., 2:] * FOCAL + (WIDTH / 2, HEIGHT / 2)
    pose_2d = np.concatenate([points, np.ones((*points.shape[:2], 1))], axis=-1).astype(np.float32)
    return Track("", -1, 0, pose_2d, np.zeros(pose_2d.shape[:2], bool), 60.0, WIDTH, HEIGHT)


def run_network(network: PoseNetwork, track: Track, window: int) -> None:
    """Run the network on all windows of the track, without overlap."""
    whole = len(track.pose_2d) // window * window
    windows = torch.from_numpy(track.pose_2d[:whole]).reshape(-1, window, 17, 3) / WIDTH
    with torch.inference_mode():
        for batch in windows.split(256):
            network(batch)


def live_seconds(model: Lifter, track: Track) -> list[float]:
    """Return the seconds of each live frame after the first window is full."""
    camera = PinholeCamera(FOCAL, (WIDTH / 2, HEIGHT / 2), WIDTH, HEIGHT, "known", "given")
    live, seconds = LiveLifter(model, camera, 60.0, 1.7), []
    for frame in track.pose_2d[: model.window + LIVE_FRAMES]:
        started = time.perf_counter()
        live.push(frame)
        seconds.append(time.perf_counter() - started)
    return seconds[model.window :]


def exports(options: argparse.Namespace) -> None:
    """Measure the CPU seconds of each export of 1,000 frames; the files stay in `--exports`."""
    joints = walking_joints(EXPORTED).astype(np.float32)
    ones = np.ones((EXPORTED, 17), np.float32)
    motion = Motion(
        name="person-0",
        fps=60.0,
        pose_3d=joints - joints[:, :1],
        root=joints[:, 0],
        root_std=np.full((EXPORTED, 3), np.nan, np.float32),
        confidence=ones,
        interpolated=ones < 0,
        pose_2d=np.stack([960 + 200 * joints[..., 0], 800 - 200 * joints[..., 2], ones], axis=-1),
    )
    ways = {form.value: lambda form=form: write_exports(motion, [form], options.exports) for form in ExportFormat}
    seconds = in_turn(ways, options.rounds, time.process_time)
    for name, taken in seconds.items():
        print(f"  {name:5}{taken:7.2f} s {(options.exports / f'motion.{name}').stat().st_size / 1000:8.0f} kB")
    print(f"  all without gif: {sum(taken for name, taken in seconds.items() if name != 'gif'):.2f} s")
