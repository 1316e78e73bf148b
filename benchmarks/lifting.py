"""Score lifting from keypoint files in the formats of several detectors, on real motion of test subjects.

    python -m benchmarks.lifting MODEL CLIPS --people 01 10 32 [--clips-of 12] [--seed 0] [--set lift.fit=false]

MODEL is a run folder or checkpoint, CLIPS an ingest folder. A perspective camera (1920 x 1080 pixels, field of view 60
degrees, pitch within 10 degrees) projects each clip. The keypoints of each detector's skeleton get detector noise, 3 %
missing keypoints and gaps of 6 frames, are written in a format of the detector, read, tracked, and lifted with known
height. The first row uses H36M joints without errors.

`model.scoring.real_video` defines the columns, which are means over clips; errors are in mm.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow.parquet as parquet
import torch

from data_contracts.clips import CLIPS_FILE, Clip, from_arrow
from data_contracts.detector_skeletons import Detector
from data_contracts.motion.marker_truth import H36M_OF_TRUTH
from data_contracts.motion.video_scores import VideoScores, mean_scores
from data_contracts.parameters import DetectorNoise, KeypointsParameters, LiftParameters, Projection
from data_contracts.parameters.presets import load_preset
from data_contracts.sources import find_keypoints
from data_contracts.store.folders import resolve_checkpoint
from data_contracts.tracks.track import Track
from model.data.corruption import add_detector_noise
from model.lifting.lifter import Lifter, load_lifter
from model.lifting.skeleton_fit import bone_lengths, stature_of
from tasks.convert.cameras import Camera, rotation_matrix
from tasks.evaluate.real_video import lift_longest, score_motion
from tasks.lifting.formats.reading import read_keypoints
from tasks.lifting.tracks import tracks_of
from tests.tasks.lifting.formats.writing import alphapose, mediapipe, openpose, seen_by

WIDTH, HEIGHT, FOV_DEG = 1920, 1080, 60.0
FOCAL = WIDTH / 2 / np.tan(np.deg2rad(FOV_DEG) / 2)
MISSING_SHARE = 0.03
GAP_FRAMES, GAP_EVERY = 6, 300
NOISE = DetectorNoise(std=(0.018,))  # 1 % of the body height at the median


@dataclass(frozen=True)
class View:
    """A clip in one camera.

    `joints` (frames, 17, 3): metres, camera axes; `pitch_deg`; `height`: stature in metres.
    """

    clip: Clip
    joints: np.ndarray
    pitch_deg: float
    height: float


def project(clip: Clip, random: np.random.Generator) -> View:
    """Project the clip with a random camera whose image contains the whole clip."""
    yaw, pitch = random.uniform(0, 2 * np.pi), np.deg2rad(random.uniform(-10, 10))
    aside, nearest = random.uniform(-0.25, 0.25), random.uniform(3.0, 6.0)
    rotation = rotation_matrix(yaw, pitch)
    centre = clip.poses.reshape(-1, 3).mean(axis=0)
    for distance in nearest * 1.15 ** np.arange(20):
        position = centre - distance * (rotation[2] + aside * rotation[0])
        joints = Camera(rotation, position, Projection.PERSPECTIVE).to_camera(clip.poses.astype(np.float64))
        if joints[..., 2].min() > 1:
            x, y = (np.abs(joints[..., axis] / joints[..., 2]).max() * FOCAL for axis in (0, 1))
            if x < 0.48 * WIDTH and y < 0.48 * HEIGHT:
                break
    lengths = bone_lengths(clip.poses.astype(np.float64), np.ones(clip.poses.shape[:2]))
    return View(clip, joints, float(np.rad2deg(pitch)), stature_of(lengths))


def keypoints_of(view: View, detector: Detector, disturbed: bool, seed: int) -> np.ndarray:
    """Return a detector's keypoints (frames, K, 3): pixels and confidence; 0, 0, 0 if missing."""
    points = seen_by(detector, view.joints)
    image = points[..., :2] / points[..., 2:] * FOCAL + (WIDTH / 2, HEIGHT / 2)
    values = np.concatenate([image, np.ones((*image.shape[:2], 1))], axis=-1)
    if not disturbed:
        return values
    generator, random = torch.Generator().manual_seed(seed), np.random.default_rng(seed)
    half = np.median(np.ptp(image[..., 1], axis=1)) / 2
    normalised = torch.from_numpy(np.concatenate([image / half, values[..., 2:]], axis=-1))[None]
    noisy = add_detector_noise(normalised, NOISE, generator)[0].numpy()
    values = np.concatenate([noisy[..., :2] * half, np.clip(noisy[..., 2:], 0.06, 1)], axis=-1)
    values[random.random(values.shape[:2]) < MISSING_SHARE] = 0
    for first in np.flatnonzero(random.random(len(values)) < 1 / GAP_EVERY):
        if 5 < first < len(values) - GAP_FRAMES - 5:
            values[first : first + GAP_FRAMES] = 0
    return values


def write_alphapose(folder: Path, values: np.ndarray) -> Path:
    """Write keypoints (frames, K, 3) in AlphaPose's format; frames without keypoints have no entry."""
    frames = [frame for frame in range(len(values)) if values[frame].any()]
    found = [
        dict(entry, image_id=f"{frame}.jpg") for frame, entry in zip(frames, alphapose(values[frames]), strict=True)
    ]
    return _json(folder, found)


def _openpose(folder: Path, values: np.ndarray) -> Path:
    return openpose(folder / "openpose", values)


def _mediapipe(folder: Path, values: np.ndarray) -> Path:
    return _json(folder, mediapipe(values, WIDTH, HEIGHT))


def _arrays(folder: Path, values: np.ndarray) -> Path:
    np.save(folder / "v.npy", values)
    return folder / "v.npy"


def _json(folder: Path, tree: object) -> Path:
    (folder / "v.json").write_text(json.dumps(tree))
    return folder / "v.json"


WRITERS: dict[str, tuple[Detector, Callable[[Path, np.ndarray], Path]]] = {
    "H36M joints": (Detector.H36M17, _arrays),
    "AlphaPose, COCO-17": (Detector.COCO17, write_alphapose),
    "MediaPipe, 33": (Detector.MEDIAPIPE33, _mediapipe),
    "OpenPose, BODY_25": (Detector.BODY25, _openpose),
    "AlphaPose, Halpe-26": (Detector.HALPE26, write_alphapose),
}


def read_back(path: Path, fps: float, detector: Detector) -> list[Track]:
    """Return the tracks that `uplift keypoints` reads from a file, sorted by first frame; short tracks are kept."""
    parameters = KeypointsParameters(fps=fps, width=WIDTH, height=HEIGHT, skeleton=detector)
    videos, _ = read_keypoints(find_keypoints(path), parameters)
    return [track for video in videos for track in tracks_of(video, parameters.max_gap)]


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("clips", type=Path)
    parser.add_argument("--people", nargs="+", required=True)
    parser.add_argument("--clips-of", type=int, default=12, metavar="N", help="Number of clips, evenly drawn.")
    parser.add_argument("--set", dest="changes", action="append", default=[], metavar="lift.parameter=value")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    lifter = load_lifter(resolve_checkpoint(Path("store"), options.model))
    parameters = load_preset("demo", options.changes).lift
    random = np.random.default_rng(options.seed)
    views = [project(clip, random) for clip in read_clips(options.clips, options.people, options.clips_of)]
    titles = ["format", *VideoScores.titles().values()]
    print(f"| {' | '.join(titles)} |\n|{'---|' * len(titles)}")
    for name in WRITERS:
        for title, disturbed in ((f"{name}, no error", False), (f"{name}, noise and gaps", True)):
            seeds = [options.seed + number if disturbed else None for number in range(len(views))]
            clips = [score(lifter, view, name, parameters, seed) for view, seed in zip(views, seeds, strict=True)]
            print(f"| {title} | {' | '.join(mean_scores(clips).cells())} |", flush=True)


def read_clips(folder: Path, people: list[str], count: int) -> list[Clip]:
    """Return `count` clips of these subjects, evenly drawn."""
    table = parquet.ParquetFile(folder / CLIPS_FILE)
    clips = [clip for batch in table.iter_batches() for clip in from_arrow(batch) if clip.group in people]
    return [clips[index] for index in np.linspace(0, len(clips) - 1, min(count, len(clips))).round().astype(int)]


def score(lifter: Lifter, view: View, name: str, parameters: LiftParameters, seed: int | None) -> VideoScores:
    """Return the scores of a clip, lifted from the format `name`; with a seed, the keypoints have noise and gaps."""
    detector, write = WRITERS[name]
    with TemporaryDirectory() as folder:
        path = write(Path(folder), keypoints_of(view, detector, seed is not None, seed or 0))
        tracks = read_back(path, view.clip.fps, detector)
    motion = lift_longest(lifter, tracks, parameters.model_copy(update={"height": parameters.height or view.height}))
    return score_motion(motion, view.clip.poses[:, H36M_OF_TRUTH].astype(np.float64), view.clip.fps)


if __name__ == "__main__":
    main()
