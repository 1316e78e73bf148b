"""From a detector's file to motion, end to end: real motion of people kept back, against the truth.

    python -m benchmarks.lifting MODEL CLIPS --people 01 10 32 [--clips-of 12] [--seed 0]

MODEL is a run folder or checkpoint, CLIPS an ingest folder. Each clip is seen by a perspective camera that stands
somewhere before it (1920 x 1080 pixels, field of view 60 degrees, pitch within 10 degrees). Keypoints of each
detector's skeleton are put on the body, moved as a detector errs, dropped (3 % of them, and 6 frames in a row now and
then), written in a format that the detector has, read, tracked and lifted, the person's height being known.

Errors are means over frames: MPJPE, P-MPJPE in mm, MPJVE in mm per frame; root: distance of the pelvis' way from the
true one after its mean is taken away, in mm; drift: error of the way from first to last frame, as a share of the way
that was gone. The first row is the reference: H36M's own joints without an error, as the model's report scores them.
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
from data_contracts.presets import load_preset
from data_contracts.skeleton import PELVIS
from data_contracts.sources import find_keypoints
from data_contracts.store.folders import resolve_checkpoint
from data_contracts.tracks.track import Track
from model.data.corruption import add_detector_noise
from model.lifting.gravity import to_world
from model.lifting.lift import lift_people
from model.lifting.skeleton_fit import bone_lengths, stature_of
from model.lifting.track_windows import Lifting
from model.scoring.metrics import mpjpe, p_mpjpe
from model.training.checkpoints import load_network, read_about
from tasks.convert.cameras import Camera, rotation_matrix
from tasks.lifting.formats.reading import read_keypoints
from tasks.lifting.formats.tracks import tracks_of
from tasks.lifting.formats.trc import MARKERS
from tests.tasks.lifting.formats.writing import alphapose, mediapipe, mmpose, openpose, seen_by

WIDTH, HEIGHT, FOV_DEG = 1920, 1080, 60.0
FOCAL = WIDTH / 2 / np.tan(np.deg2rad(FOV_DEG) / 2)
MISSING_SHARE = 0.03
GAP_FRAMES, GAP_EVERY = 6, 300
NOISE = DetectorNoise(std=(0.018,))  # of half the figure: 1 % of a person's height at the median


@dataclass(frozen=True)
class Seen:
    """A clip as one camera sees it.

    `joints` (frames, 17, 3): metres, camera axes; `pitch_deg`; `height`: the person's stature, metres.
    """

    clip: Clip
    joints: np.ndarray
    pitch_deg: float
    height: float

    @property
    def pose(self) -> np.ndarray:
        """(frames, 17, 3): the truth that a `Motion` is held against, relative to the pelvis, z up."""
        world = to_world(self.joints, self.pitch_deg)
        return np.asarray(world - world[:, PELVIS : PELVIS + 1])

    @property
    def root(self) -> np.ndarray:
        """(frames, 3), z up, metres."""
        return to_world(self.joints[:, PELVIS], self.pitch_deg)


def see(clip: Clip, random: np.random.Generator) -> Seen:
    """The clip before a camera that has all of it in its image."""
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
    return Seen(clip, joints, float(np.rad2deg(pitch)), stature_of(lengths))


def keypoints_of(seen: Seen, detector: Detector, disturbed: bool, seed: int) -> np.ndarray:
    """What a detector shows of it: (frames, K, 3), pixels and confidence; 0, 0, 0 where missing."""
    points = seen_by(detector, seen.joints)
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
    there = [frame for frame in range(len(values)) if values[frame].any()]
    found = [dict(entry, image_id=f"{frame}.jpg") for frame, entry in zip(there, alphapose(values[there]), strict=True)]
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
    names = {keypoint: marker for marker, keypoint in reversed(MARKERS.items())}
    kept = [k for k, keypoint in enumerate(SKELETONS[Detector.HALPE26].keypoints) if keypoint in names]
    markers = [names[SKELETONS[Detector.HALPE26].keypoints[k]] for k in kept]
    header = "DataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits"
    lines = ["PathFileType\t4\t(X/Y/Z)\tv.trc", header, f"60\t60\t{len(values)}\t{len(kept)}\tpx"]
    lines += ["Frame#\tTime\t" + "\t\t\t".join(markers) + "\t\t", "\t\tX1\tY1\tZ1"]
    for frame, row in enumerate(values):
        fields = [f"{x:.3f}\t{y:.3f}\t0" if seen else "\t\t" for x, y, seen in row[kept].tolist()]
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
    """The tracks that `uplift keypoints` makes of a file, in the order of their frames."""
    parameters = KeypointsParameters(fps=fps, width=WIDTH, height=HEIGHT, skeleton=detector)
    videos, _ = read_keypoints(find_keypoints(path), parameters)
    return [track for video in videos for track in tracks_of(video, parameters.max_gap)]


def scores(seen: Seen, motions: list[Motion]) -> tuple[np.ndarray, float]:
    """MPJPE, P-MPJPE, MPJVE, root error and drift of a clip, and the frames that were lifted."""
    frame = np.concatenate([motion.first_frame + np.arange(motion.frames) for motion in motions])
    pose = np.concatenate([motion.pose_3d for motion in motions]).astype(np.float64)
    root = np.concatenate([motion.root for motion in motions]).astype(np.float64)
    true, true_root = seen.pose[frame], seen.root[frame]
    lifted, truth = torch.from_numpy(1000 * pose), torch.from_numpy(1000 * true)
    velocity = np.diff(pose, axis=0) - np.diff(true, axis=0)
    neighbours = np.diff(frame) == 1
    off = root - true_root
    gone = np.linalg.norm(np.diff(true_root, axis=0), axis=-1).sum()
    of_clip = [
        float(mpjpe(lifted, truth).mean()),
        float(p_mpjpe(lifted, truth).mean()),
        1000 * float(np.linalg.norm(velocity[neighbours], axis=-1).mean()),
        1000 * float(np.linalg.norm(off - off.mean(axis=0), axis=-1).mean()),
        float(np.linalg.norm(off[-1] - off[0]) / max(gone, 0.5)),
    ]
    return np.array(of_clip), len(frame)


def main() -> None:
    """Run the benchmark as described above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("clips", type=Path)
    parser.add_argument("--people", nargs="+", required=True)
    parser.add_argument("--clips-of", type=int, default=12, metavar="N", help="Of all their clips, evenly drawn.")
    parser.add_argument("--rows", nargs="+", choices=list(WRITERS), default=list(WRITERS))
    parser.add_argument("--set", dest="changes", action="append", default=[], metavar="lift.parameter=value")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    lifting = open_model(options.model)
    parameters = load_preset("demo", options.changes).lift
    clips = read_clips(options.clips, options.people, options.clips_of)
    random = np.random.default_rng(options.seed)
    before = [see(clip, random) for clip in clips]
    frames = sum(len(seen.joints) for seen in before)
    print(f"{len(clips)} clips of people {', '.join(options.people)}, {frames:,} frames\n")
    print("| written as | MPJPE | P-MPJPE | MPJVE | root | drift |\n|---|---|---|---|---|---|")
    _row("H36M's joints, no error", before, lifting, parameters, Detector.H36M17, _arrays, False, options.seed)
    for name in options.rows:
        detector, writer = WRITERS[name]
        if detector is not Detector.H36M17:
            _row(f"{name}, no error", before, lifting, parameters, detector, writer, False, options.seed)
        _row(f"{name}, noise and gaps", before, lifting, parameters, detector, writer, True, options.seed)


def open_model(reference: str) -> Lifting:
    """A network with what it was trained on."""
    checkpoint = resolve_checkpoint(Path("store"), reference)
    network, about = load_network(checkpoint), read_about(checkpoint)
    return Lifting(network, about.get("window") or network.config.max_frames, about.get("fps"))


def read_clips(folder: Path, people: list[str], count: int) -> list[Clip]:
    """`count` clips of these people, evenly drawn."""
    table = parquet.ParquetFile(folder / CLIPS_FILE)
    clips = [clip for batch in table.iter_batches() for clip in from_arrow(batch) if clip.group in people]
    return [clips[index] for index in np.linspace(0, len(clips) - 1, min(count, len(clips))).round().astype(int)]


def _row(
    name: str,
    before: list[Seen],
    lifting: Lifting,
    parameters: LiftParameters,
    detector: Detector,
    writer: Callable[[Path, np.ndarray], Path],
    disturbed: bool,
    seed: int,
) -> None:
    found, weights = [], []
    for number, seen in enumerate(before):
        with TemporaryDirectory() as folder:
            path = writer(Path(folder), keypoints_of(seen, detector, disturbed, seed + number))
            tracks = read_back(path, seen.clip.fps, detector)
        known = parameters.model_copy(update={"height": parameters.height or seen.height})
        of_clip, frames = scores(seen, lift_people(lifting, tracks, known))
        found.append(of_clip)
        weights.append(frames)
    mean = np.average(found, axis=0, weights=weights)
    print(f"| {name} | {mean[0]:.1f} | {mean[1]:.1f} | {mean[2]:.2f} | {mean[3]:.0f} | {mean[4]:.1%} |", flush=True)


if __name__ == "__main__":
    main()
