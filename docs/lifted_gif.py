"""Make docs/lifted.gif: synthetic keypoints in AlphaPose's format next to the lifted motion.

    .venv/bin/python -m docs.lifted_gif [--model shipped] [--into docs]

A synthetic subject, not used in training (another seed), jumps. `benchmarks.lifting` adds detector noise, missing
keypoints and gaps. The rest is `uplift lift --export gif`.
"""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.lifting import keypoints_of, project, read_back, write_alphapose
from data_contracts.clips import Clip
from data_contracts.detector_skeletons import Detector
from data_contracts.parameters import LiftParameters
from data_contracts.store.folders import SHIPPED, resolve_checkpoint
from model.lifting.lift import lift_people
from model.lifting.lifter import load_lifter
from tasks.lifting.exports.gif_file import write_gif
from tasks.synthetic.motion import generate

SEED, SECONDS = 77, 4.0


def main() -> None:
    """Make the GIF."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=SHIPPED)
    parser.add_argument("--into", type=Path, default=Path(__file__).parent)
    options = parser.parse_args()
    clips, rows = generate(seed=SEED, people=1, seconds=SECONDS)
    poses = next(clip for clip, row in zip(clips, rows, strict=True) if row["action"] == "jumping")
    clip = Clip(0, "jump", "77", "jumping", 60.0, poses.transpose(1, 0, 2).astype(np.float32))
    view = project(clip, np.random.default_rng(SEED))
    with TemporaryDirectory() as folder:
        file = write_alphapose(Path(folder), keypoints_of(view, Detector.HALPE26, True, SEED))
        tracks = read_back(file, clip.fps, Detector.HALPE26)
    motions = lift_people(
        load_lifter(resolve_checkpoint(Path("store"), options.model)), tracks, LiftParameters(height=view.height)
    )
    write_gif(motions, options.into / "lifted.gif")


if __name__ == "__main__":
    main()
