"""Score models and the detector's own 3D on videos with marker truth, and models on projected test motion.

    python -m benchmarks.real_video FOLDER [MODEL ...] [--clips CLIPS --people 01 10 32]

FOLDER has `CLIP_mediapipe.json` and `CLIP_truth.npz` for each clip. MODEL is a run folder, checkpoint, digest or model
URI. Models of several seeds, `A,B,C`, share a row with mean ± standard deviation. With CLIPS, an ingest folder, the
table also has rows of projected clips: keypoints with noise and gaps, as in `benchmarks.lifting`.
`model.scoring.real_video` defines the columns; errors are in mm.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from benchmarks.lifting import WRITERS, View, keypoints_of, project, read_back, read_clips
from data_contracts.motion.marker_truth import H36M_OF_TRUTH
from data_contracts.motion.video_scores import VideoScores
from data_contracts.parameters import LiftParameters
from data_contracts.parameters.presets import load_preset
from data_contracts.sources import find_marked_videos
from data_contracts.store.folders import default_store
from model.lifting.lifter import Lifter, load_lifter
from tasks.evaluate.real_video import lift_longest, score_motion, score_videos, with_mean
from tasks.tracking.models import find_lifting_model

PROJECTED = ("AlphaPose, COCO-17", "AlphaPose, Halpe-26", "OpenPose, BODY_25", "MediaPipe, 33")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("models", nargs="*", metavar="MODEL")
    parser.add_argument("--set", dest="changes", action="append", default=[], metavar="lift.parameter=value")
    parser.add_argument("--clips", type=Path, help="Ingest folder whose motion is projected.")
    parser.add_argument("--people", nargs="+", default=[], help="Test subjects of CLIPS.")
    parser.add_argument("--clips-of", type=int, default=12, metavar="N", help="Number of clips, evenly drawn.")
    parser.add_argument("--seed", type=int, default=0, help="Seed of the cameras and of the noise.")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    if options.clips and not options.people:
        parser.error("--clips needs --people: the test subjects whose clips are projected")
    torch.set_num_threads(options.threads)
    videos = find_marked_videos(options.folder).videos
    parameters = load_preset("demo", options.changes).lift
    titles = ["clip", "motion", *VideoScores.titles().values()]
    print(f"| {' | '.join(titles)} |\n|{'---|' * len(titles)}")
    for method, scores in score_videos(None, videos).items():
        _print_rows(method, [scores])
    views = _views(options.clips, options.people, options.clips_of, options.seed) if options.clips else []
    for model in options.models:
        lifters = [_lifter(reference) for reference in model.split(",")]
        _print_rows(model, [score_videos(lifter, videos, parameters)["model"] for lifter in lifters])
        for name in PROJECTED if views else ():
            seeds = [with_mean(dict(_projected(name, views, lifter, parameters, options.seed))) for lifter in lifters]
            _print_rows(model, [{f"projected, {name}": scores["mean"]} for scores in seeds])


def _lifter(reference: str) -> Lifter:
    model = find_lifting_model(default_store(), reference)
    return load_lifter(model.checkpoint, model.flip)


def _views(clips: Path, people: list[str], count: int, seed: int) -> list[View]:
    random = np.random.default_rng(seed)
    return [project(clip, random) for clip in read_clips(clips, people, count)]


def _projected(
    name: str, views: Sequence[View], lifter: Lifter, parameters: LiftParameters, seed: int
) -> Iterator[tuple[str, VideoScores]]:
    """Yield the scores of projected clips whose keypoints have a detector's skeleton, noise and gaps."""
    detector, writer = WRITERS[name]
    for number, view in enumerate(views):
        with TemporaryDirectory() as folder:
            path = writer(Path(folder), keypoints_of(view, detector, True, seed + number))
            tracks = read_back(path, view.clip.fps, detector)
        motion = lift_longest(lifter, tracks, parameters)
        yield str(number), score_motion(motion, view.clip.poses[:, H36M_OF_TRUTH].astype(np.float64), view.clip.fps)


def _print_rows(motion: str, seeds: Sequence[Mapping[str, VideoScores]]) -> None:
    """Print a row per clip: the scores of one model, or mean ± standard deviation over seeds."""
    for clip, first in seeds[0].items():
        cells = first.cells()
        for place, name in enumerate(VideoScores.titles()):
            values = [getattr(scores[clip], name) for scores in seeds]
            if len(seeds) > 1 and name != "frames" and None not in values:
                cells[place] = f"{np.mean(values):.1f} ± {np.std(values, ddof=1):.1f}"
        print(f"| {clip} | {motion} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
