"""Time every export of a motion, CPU seconds; and leave the files, for other tools to open.

    python -m benchmarks.exports --frames 1000 --out exports

A synthetic person walks. GIF comes apart: it shows at most 240 frames.

2026-11-27, 2 shared CPU cores, Python 3.11.7, numpy 2.4.6: 0.30 s together for 1,000 frames (json 0.12, bvh 0.06, csv
and glb 0.04, the others 0.02 and less), gif 0.63 s.
"""

import argparse
import time
from pathlib import Path

import numpy as np

from data_contracts.motion.motion import Motion
from data_contracts.parameters import ExportFormat
from tasks.lifting.exports.writing import write_exports
from tasks.synthetic.motion import generate


def main() -> None:
    """Run the benchmark as described above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=Path("exports"))
    arguments = parser.parse_args()
    motion = walk(arguments.frames)
    write_exports(walk(2), list(ExportFormat), arguments.out)  # imports
    total = 0.0
    for form in ExportFormat:
        begun = time.process_time()
        (path,) = write_exports(motion, [form], arguments.out)
        seconds = time.process_time() - begun
        total += seconds if form is not ExportFormat.GIF else 0
        print(f"{form:5} {seconds:6.2f} s {path.stat().st_size / 1000:8.0f} kB")
    print(f"together, without gif: {total:.2f} s for {motion.frames} frames")


def walk(frames: int) -> Motion:
    """A person who walks, seen from the front without perspective."""
    clips, rows = generate(seed=3, people=1, seconds=1.3 * max(frames, 60) / 60)
    walking = next(clip for clip, row in zip(clips, rows, strict=True) if row["action"] == "walking")
    joints = walking.transpose(1, 0, 2)[:frames].astype(np.float32)
    seen = np.ones((len(joints), 17), np.float32)
    return Motion(
        name="person-0",
        fps=60.0,
        pose_3d=joints - joints[:, :1],
        root=joints[:, 0],
        root_std=np.full((len(joints), 3), np.nan, np.float32),
        confidence=seen,
        interpolated=seen < 0,
        pose_2d=np.stack([960 + 200 * joints[..., 0], 800 - 200 * joints[..., 2], seen], axis=-1),
    )


if __name__ == "__main__":
    main()
