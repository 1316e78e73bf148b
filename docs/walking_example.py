"""Make examples/walking.json: keypoints as AlphaPose writes them (COCO-17) of a person who walks past a camera.

    .venv/bin/python -m docs.walking_example [--into examples/walking.json]

A synthetic person walks for 5 seconds at 30 frames per second. `benchmarks.lifting` projects the joints with a camera
of 1920 x 1080 pixels, and adds detector noise and missing keypoints.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from benchmarks.lifting import View, keypoints_of, project
from data_contracts.clips import Clip
from data_contracts.detector_skeletons import Detector
from tasks.synthetic.motion import generate
from tests.tasks.lifting.formats.writing import alphapose

EXAMPLE = Path(__file__).parent.parent / "examples" / "walking.json"
SEED, SECONDS, FPS = 21, 8.0, 30
FRAMES = 150


def walk() -> View:
    """Return the walk (150 frames, 17 joints) in the axes of the camera, with the pitch and the person's height."""
    clips, rows = generate(seed=SEED, people=1, seconds=SECONDS)
    poses = next(clip for clip, row in zip(clips, rows, strict=True) if row["action"] == "walking").transpose(1, 0, 2)
    clip = Clip(0, "walk", "synthetic", "walking", FPS, poses[: 2 * FRAMES : 2].astype(np.float32))
    return project(clip, np.random.default_rng(SEED))


def detected(view: View) -> str:
    """Return the keypoints of a view as AlphaPose's JSON, one line per frame; frames without keypoints are missing."""
    values = keypoints_of(view, Detector.COCO17, disturbed=True, seed=SEED)
    frames = np.flatnonzero(values.any(axis=(1, 2)))
    entries = alphapose(values[frames].round(2), people=[1])
    lines = [json.dumps(one | {"image_id": f"{frame}.jpg"}) for frame, one in zip(frames, entries, strict=True)]
    return "[\n" + ",\n".join(lines) + "\n]\n"


def main() -> None:
    """Write the example."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--into", type=Path, default=EXAMPLE)
    options = parser.parse_args()
    options.into.parent.mkdir(exist_ok=True)
    options.into.write_text(detected(walk()), encoding="utf-8")


if __name__ == "__main__":
    main()
