"""Score models and the detector's own 3D on videos with marker truth.

    python -m benchmarks.real_video FOLDER [MODEL ...] [--set lift.fit=false]

FOLDER has `CLIP_mediapipe.json` and `CLIP_truth.npz` for each clip. MODEL is a run folder, checkpoint, digest or model
URI. `model.scoring.real_video` defines the columns; errors are in mm.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path

import torch

from data_contracts.motion.video_scores import VideoScores
from data_contracts.parameters.presets import load_preset
from data_contracts.sources import find_marked_videos
from data_contracts.store.folders import default_store
from model.lifting.lifter import load_lifter
from tasks.evaluate.real_video import score_videos
from tasks.tracking.models import find_lifting_model


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("models", nargs="*", metavar="MODEL")
    parser.add_argument("--set", dest="changes", action="append", default=[], metavar="lift.parameter=value")
    options = parser.parse_args()
    torch.set_num_threads(1)
    videos = find_marked_videos(options.folder).videos
    parameters = load_preset("demo", options.changes).lift
    titles = ["clip", "motion", *VideoScores.titles().values()]
    print(f"| {' | '.join(titles)} |\n|{'---|' * len(titles)}")
    for method, clips in score_videos(None, videos).items():
        print_rows(method, clips)
    for reference in options.models:
        model = find_lifting_model(default_store(), reference)
        print_rows(reference, score_videos(load_lifter(model.checkpoint, model.flip), videos, parameters)["model"])


def print_rows(motion: str, clips: Mapping[str, VideoScores]) -> None:
    """Print a row per clip."""
    for clip, scores in clips.items():
        print(f"| {clip} | {motion} | {' | '.join(scores.cells())} |", flush=True)


if __name__ == "__main__":
    main()
