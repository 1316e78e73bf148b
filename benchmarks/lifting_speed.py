"""How fast keypoints become motion, and how long a live frame takes.

    python -m benchmarks.lifting_speed [--preset demo] [--frames 20000] [--threads 2]

A track of synthetic walking, 60 frames/s, weights as they are drawn (speed does not depend on what they learned). The
floor is the network alone on windows that do not overlap, without flip averaging: each frame once. What lifting adds is
overlap (a third of a window from one to the next), flip averaging, and all that follows the network. Live: one frame at
a time, `LiveLifter.push`.
"""

import argparse
import time

import numpy as np
import torch

from data_contracts.parameters import LiftParameters, Projection
from data_contracts.presets import load_preset
from data_contracts.tracks.track import Track
from model.lifting.cameras import PinholeCamera
from model.lifting.lift import lift_people
from model.lifting.live import LiveLifter
from model.lifting.track_windows import Lifting
from model.network.dstformer import DSTformer
from tasks.convert.cameras import Camera, rotation_matrix
from tasks.synthetic.motion import generate

WIDTH, HEIGHT, FOCAL = 1280, 720, 1100.0
LIVE_FRAMES = 300


def main() -> None:
    """Run the benchmark as described above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="demo")
    parser.add_argument("--frames", type=int, default=20_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    preset = load_preset(options.preset)
    window = preset.convert.window
    config = preset.pretrain.network.model_copy(update={"max_frames": window, "dim_out": 3})
    torch.manual_seed(0)
    network = DSTformer(config, preset.finetune.head).eval()
    track = walk(options.frames)
    floor = best(lambda: alone(network, track, window), options.rounds)
    print(
        f"preset {options.preset}, windows of {window} frames, {options.frames:,} frames, {options.threads} thread(s)\n"
    )
    print("| | frames/s | of the floor |\n|---|---|---|")
    print(f"| the network alone, each frame once | {options.frames / floor:,.0f} | 1.00 |")
    for name, parameters, flip in (
        ("windows end to end, no flip", LiftParameters(stride=window), False),
        ("windows overlapping by two thirds, no flip", LiftParameters(), False),
        ("the same with flip averaging: the default", LiftParameters(), True),
    ):
        lifting = Lifting(network, window, 60.0, flip)
        seconds = best(lambda lifting=lifting, told=parameters: lift_people(lifting, [track], told), options.rounds)
        print(f"| {name} | {options.frames / seconds:,.0f} | {floor / seconds:.2f} |", flush=True)
    live = sorted(latencies(Lifting(network, window, 60.0), track))
    median, late = 1000 * live[len(live) // 2], 1000 * live[int(0.99 * len(live))]
    print(f"\nlive, with flip averaging: {median:.1f} ms a frame at the median, {late:.1f} ms at the 99th percentile")


def walk(frames: int) -> Track:
    """A track of so many frames of people who walk, one after the other."""
    clips, rows = generate(seed=0, people=4, seconds=12.0)
    poses = [clip.transpose(1, 0, 2) for clip, row in zip(clips, rows, strict=True) if row["action"] == "walking"]
    joints = np.concatenate([pose - pose[:, :1].mean(axis=0) for pose in poses])
    joints = np.tile(joints, (-(-frames // len(joints)), 1, 1))[:frames]
    rotation = rotation_matrix(0.5, 0.1)
    seen = Camera(rotation, -5 * rotation[2], Projection.PERSPECTIVE).to_camera(joints)
    points = seen[..., :2] / seen[..., 2:] * FOCAL + (WIDTH / 2, HEIGHT / 2)
    pose_2d = np.concatenate([points, np.ones((*points.shape[:2], 1))], axis=-1).astype(np.float32)
    return Track("", -1, 0, pose_2d, np.zeros(pose_2d.shape[:2], bool), 60.0, WIDTH, HEIGHT)


def alone(network: DSTformer, track: Track, window: int) -> None:
    """Every frame through the network once."""
    whole = len(track.pose_2d) // window * window
    windows = torch.from_numpy(track.pose_2d[:whole]).reshape(-1, window, 17, 3) / WIDTH
    with torch.inference_mode():
        for some in windows.split(256):
            network(some)


def best(work, rounds: int) -> float:  # type: ignore[no-untyped-def]
    """Seconds of the fastest of some rounds."""
    seconds = []
    for _ in range(rounds):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def latencies(lifting: Lifting, track: Track) -> list[float]:
    """Seconds of each push, once the window is full."""
    camera = PinholeCamera(FOCAL, (WIDTH / 2, HEIGHT / 2), WIDTH, HEIGHT, "known", "given")
    live = LiveLifter(lifting, camera, 60.0, 1.7)
    seconds = []
    for frame in track.pose_2d[: lifting.window + LIVE_FRAMES]:
        started = time.perf_counter()
        live.push(frame)
        seconds.append(time.perf_counter() - started)
    return seconds[lifting.window :]


if __name__ == "__main__":
    main()
