"""Measure lifting from a detector's file to motion, on real motion of test subjects.

    python -m benchmarks.lifting MODEL CLIPS --people 01 10 32 [--clips-of 12] [--seed 0]

MODEL is a run folder or checkpoint, CLIPS an ingest folder. A perspective camera (1920 x 1080 pixels, field of view 60
degrees, pitch within 10 degrees) projects each clip. The keypoints of each detector's skeleton get detector noise, 3 %
missing keypoints and gaps of 6 frames, are written in a format of the detector, read, tracked, and lifted with known
height.

Errors are means over frames: MPJPE, P-MPJPE in mm, MPJVE in mm per frame, root (distance of the pelvis path without its
mean, in mm), drift (error of the way from first to last frame, as a share of the path). The first row uses H36M joints
without errors.
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
from data_contracts.detector_skeletons import SKELETONS, Detector
from data_contracts.motion.motion import Motion
from data_contracts.parameters import DetectorNoise, KeypointsParameters, LiftParameters, Projection
from data_contracts.parameters.presets import load_preset
from data_contracts.skeleton import PELVIS
from data_contracts.sources import find_keypoints
from data_contracts.store.folders import resolve_checkpoint
from data_contracts.tracks.track import Track
from model.data.corruption import add_detector_noise
from model.lifting.gravity import to_world
from model.lifting.lift import lift_people
from model.lifting.lifter import Lifter, load_lifter
from model.lifting.skeleton_fit import bone_lengths, stature_of
from model.scoring.metrics import mpjpe, p_mpjpe
from tasks.convert.cameras import Camera, rotation_matrix
from tasks.lifting.formats.reading import read_keypoints
from tasks.lifting.tracks import tracks_of
from tests.tasks.lifting.formats.writing import alphapose, mediapipe, mmpose, openpose, seen_by

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

    @property
    def pose(self) -> np.ndarray:
        """True pose (frames, 17, 3), relative to the pelvis, z up, metres."""
        world = to_world(self.joints, self.pitch_deg)
        return np.asarray(world - world[:, PELVIS : PELVIS + 1])

    @property
    def root(self) -> np.ndarray:
        """True root (frames, 3), z up, metres."""
        return to_world(self.joints[:, PELVIS], self.pitch_deg)


def project(clip: Clip, random: np.random.Generator) -> View:
    """Project the clip with a camera that has the whole clip in its image."""
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


def _alphapose(folder: Path, values: np.ndarray) -> Path:
    frames = [frame for frame in range(len(values)) if values[frame].any()]
    found = [
        dict(entry, image_id=f"{frame}.jpg") for frame, entry in zip(frames, alphapose(values[frames]), strict=True)
    ]
    return _json(folder, found)


def _openpose(folder: Path, values: np.ndarray) -> Path:
    return openpose(folder / "openpose", values)


def _mmpose(folder: Path, values: np.ndarray) -> Path:
    return _json(folder, mmpose(values))


def _mediapipe(folder: Path, values: np.ndarray) -> Path:
    return _json(folder, mediapipe(values, WIDTH, HEIGHT))


def _videopose3d(folder: Path, values: np.ndarray) -> Path:
    points = np.where(values[..., 2:] > 0, values[..., :2], np.nan)
    metadata = {"layout_name": "coco", "video_metadata": {"v": {"w": WIDTH, "h": HEIGHT}}}
    np.savez(folder / "v.npz", positions_2d={"v": {"custom": [points]}}, metadata=metadata)
    return folder / "v.npz"


def _arrays(folder: Path, values: np.ndarray) -> Path:
    np.save(folder / "v.npy", values)
    return folder / "v.npy"


def _skeletons(folder: Path, values: np.ndarray) -> Path:
    frames = [
        {"frame_index": frame, "skeleton": [{"pose": row[:, :2].tolist(), "score": row[:, 2:].tolist()}]}
        for frame, row in enumerate(values)
        if row.any()
    ]
    return _json(folder, {"data": frames})


def _trc(folder: Path, values: np.ndarray) -> Path:
    markers = [name.title().replace("_", "") for name in SKELETONS[Detector.HALPE26].keypoints]
    header = "DataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits"
    lines = ["PathFileType\t4\t(X/Y/Z)\tv.trc", header, f"60\t60\t{len(values)}\t{len(markers)}\tpx"]
    lines += ["Frame#\tTime\t" + "\t\t\t".join(markers) + "\t\t", "\t\tX1\tY1\tZ1"]
    for frame, row in enumerate(values):
        fields = [f"{x:.3f}\t{y:.3f}\t0" if confidence else "\t\t" for x, y, confidence in row.tolist()]
        lines.append("\t".join([str(frame), f"{frame / 60:.5f}", *fields]))
    (folder / "v.trc").write_text("\n".join(lines))
    return folder / "v.trc"


def _json(folder: Path, tree: object) -> Path:
    (folder / "v.json").write_text(json.dumps(tree))
    return folder / "v.json"


WRITERS: dict[str, tuple[Detector, Callable[[Path, np.ndarray], Path]]] = {
    "AlphaPose, COCO-17": (Detector.COCO17, _alphapose),
    "AlphaPose, Halpe-26": (Detector.HALPE26, _alphapose),
    "AlphaPose, Halpe-136": (Detector.HALPE136, _alphapose),
    "OpenPose, BODY_25": (Detector.BODY25, _openpose),
    "OpenPose, COCO-18": (Detector.COCO18, _openpose),
    "OpenPose, BODY_25B": (Detector.BODY25B, _openpose),
    "MMPose, COCO-17": (Detector.COCO17, _mmpose),
    "MediaPipe, 33": (Detector.MEDIAPIPE33, _mediapipe),
    "VideoPose3D, COCO-17": (Detector.COCO17, _videopose3d),
    "GAST-Net, COCO-17": (Detector.COCO17, _skeletons),
    "TRC in pixels, Halpe-26": (Detector.HALPE26, _trc),
    ".npy, H36M-17": (Detector.H36M17, _arrays),
}


def read_back(path: Path, fps: float, detector: Detector) -> list[Track]:
    """Return the tracks that `uplift keypoints` reads from a file, in the order of their frames."""
    parameters = KeypointsParameters(fps=fps, width=WIDTH, height=HEIGHT, skeleton=detector)
    videos, _ = read_keypoints(find_keypoints(path), parameters)
    return [track for video in videos for track in tracks_of(video, parameters.max_gap)]


def scores(view: View, motions: list[Motion]) -> tuple[np.ndarray, float]:
    """Return MPJPE, P-MPJPE, MPJVE, root error and drift of a clip, and the number of lifted frames."""
    frame = np.concatenate([motion.first_frame + np.arange(motion.frames) for motion in motions])
    pose = np.concatenate([motion.pose_3d for motion in motions]).astype(np.float64)
    root = np.concatenate([motion.root for motion in motions]).astype(np.float64)
    true, true_root = view.pose[frame], view.root[frame]
    lifted, truth = torch.from_numpy(1000 * pose), torch.from_numpy(1000 * true)
    velocity = np.diff(pose, axis=0) - np.diff(true, axis=0)
    neighbours = np.diff(frame) == 1
    off = root - true_root
    path = np.linalg.norm(np.diff(true_root, axis=0), axis=-1).sum()
    of_clip = [
        float(mpjpe(lifted, truth).mean()),
        float(p_mpjpe(lifted, truth).mean()),
        1000 * float(np.linalg.norm(velocity[neighbours], axis=-1).mean()),
        1000 * float(np.linalg.norm(off - off.mean(axis=0), axis=-1).mean()),
        float(np.linalg.norm(off[-1] - off[0]) / max(path, 0.5)),
    ]
    return np.array(of_clip), len(frame)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("clips", type=Path)
    parser.add_argument("--people", nargs="+", required=True)
    parser.add_argument("--clips-of", type=int, default=12, metavar="N", help="Number of clips, evenly drawn.")
    parser.add_argument("--rows", nargs="+", choices=list(WRITERS), default=list(WRITERS))
    parser.add_argument("--set", dest="changes", action="append", default=[], metavar="lift.parameter=value")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    lifter = load_lifter(resolve_checkpoint(Path("store"), options.model))
    parameters = load_preset("demo", options.changes).lift
    clips = read_clips(options.clips, options.people, options.clips_of)
    random = np.random.default_rng(options.seed)
    views = [project(clip, random) for clip in clips]
    frames = sum(len(view.joints) for view in views)
    print(f"{len(clips)} clips of subjects {', '.join(options.people)}, {frames:,} frames\n")
    print("| format | MPJPE | P-MPJPE | MPJVE | root | drift |\n|---|---|---|---|---|---|")
    _row("H36M joints, no error", views, lifter, parameters, Detector.H36M17, _arrays, False, options.seed)
    for name in options.rows:
        detector, writer = WRITERS[name]
        if detector is not Detector.H36M17:
            _row(f"{name}, no error", views, lifter, parameters, detector, writer, False, options.seed)
        _row(f"{name}, noise and gaps", views, lifter, parameters, detector, writer, True, options.seed)


def read_clips(folder: Path, people: list[str], count: int) -> list[Clip]:
    """Return `count` clips of these subjects, evenly drawn."""
    table = parquet.ParquetFile(folder / CLIPS_FILE)
    clips = [clip for batch in table.iter_batches() for clip in from_arrow(batch) if clip.group in people]
    return [clips[index] for index in np.linspace(0, len(clips) - 1, min(count, len(clips))).round().astype(int)]


def _row(
    name: str,
    views: list[View],
    lifter: Lifter,
    parameters: LiftParameters,
    detector: Detector,
    writer: Callable[[Path, np.ndarray], Path],
    disturbed: bool,
    seed: int,
) -> None:
    found, weights = [], []
    for number, view in enumerate(views):
        with TemporaryDirectory() as folder:
            path = writer(Path(folder), keypoints_of(view, detector, disturbed, seed + number))
            tracks = read_back(path, view.clip.fps, detector)
        known = parameters.model_copy(update={"height": parameters.height or view.height})
        of_clip, frames = scores(view, lift_people(lifter, tracks, known))
        found.append(of_clip)
        weights.append(frames)
    mean = np.average(found, axis=0, weights=weights)
    print(f"| {name} | {mean[0]:.1f} | {mean[1]:.1f} | {mean[2]:.2f} | {mean[3]:.0f} | {mean[4]:.1%} |", flush=True)


if __name__ == "__main__":
    main()
