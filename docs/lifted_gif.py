"""The picture of README's first screen: somebody who jumps as AlphaPose would write it down, and lifted.

    .venv/bin/python -m docs.lifted_gif --model RUN [--into docs]

Synthetic motion that no model was trained on (another seed), keypoints of Halpe-26 with a detector's noise, missing
ones and gaps, as `benchmarks.lifting` makes them; then what `uplift lift` does, with `--export gif`.
"""

import argparse
import json
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.lifting import keypoints_of, open_model, read_back, see
from data_contracts.clips import Clip
from data_contracts.detector_skeletons import Detector
from data_contracts.parameters import LiftParameters
from model.lifting.lift import lift_people
from tasks.lifting.exports.gif_file import write_gif
from tasks.synthetic.motion import generate
from tests.tasks.lifting.formats.writing import alphapose

SEED, SECONDS = 77, 4.0


def main() -> None:
    """Make the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--into", type=Path, default=Path(__file__).parent)
    options = parser.parse_args()
    clips, rows = generate(seed=SEED, people=1, seconds=SECONDS)
    poses = next(clip for clip, row in zip(clips, rows, strict=True) if row["action"] == "jumping")
    clip = Clip(0, "jump", "77", "jumping", 60.0, poses.transpose(1, 0, 2).astype(np.float32))
    seen = see(clip, np.random.default_rng(SEED))
    with TemporaryDirectory() as folder:
        file = Path(folder) / "alphapose-results.json"
        file.write_text(alphapose_text(keypoints_of(seen, Detector.HALPE26, True, SEED)))
        tracks = read_back(file, clip.fps, Detector.HALPE26)
    motions = lift_people(open_model(options.model), tracks, LiftParameters(height=seen.height))
    write_gif(motions, options.into / "lifted.gif")


def alphapose_text(values: np.ndarray) -> str:
    """What AlphaPose writes of keypoints (frames, K, 3); frames in which nobody is seen have no entry."""
    there = np.flatnonzero(values.any(axis=(1, 2)))
    entries = alphapose(values[there])
    return json.dumps([dict(entry, image_id=f"{frame}.jpg") for frame, entry in zip(there, entries, strict=True)])


if __name__ == "__main__":
    main()
