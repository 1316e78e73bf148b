"""A few frames in every keypoint format, synthetic and, if available, from real detections; for mutations."""

import json
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_contracts.detector_skeletons import PLACES, SKELETONS, Detector
from data_contracts.skeleton import JOINTS

DETECTIONS = Path(__file__).parents[5] / "shared" / "detections"  # real keypoint files, not in the repository
STANDING = np.array(
    [
        *((0, 0), (-13, 2), (-14, 45), (-15, 90), (13, 2), (14, 45), (15, 90), (0, -25), (0, -50), (2, -60), (0, -72)),
        *((17, -48), (22, -20), (24, 6), (-17, -48), (-22, -20), (-24, 6)),
    ]
)  # (17, 2), in pixels, y down


@dataclass
class Seed:
    """A valid file: `kind` selects the mutation, `data` is its content, or that of each file of a folder."""

    kind: str  # json, lines (a JSON value per line), folder (of JSON), texts (folder of text files), table, arrays
    data: Any


def keypoint_seeds(detections: Path) -> list[Seed]:
    """Return small files of every format, and parts of the files in `detections`, if it exists."""
    seeds = [Seed("json", tree) for tree in [*_trees(), *_more_trees(), *_real_trees(detections)]]
    coco18, frames = _points(Detector.COCO18), range(4)
    folder = {f"v_{frame:012d}_keypoints.json": {"people": [_openpose_person(coco18[frame])]} for frame in frames}
    sep_json = {f"{frame}.json": _alphapose_frame(coco18[frame], "bodies", "joints") for frame in frames}
    seeds += [Seed("folder", folder), Seed("folder", sep_json), *_real_folders(detections)]
    coco = _points(Detector.COCO17)
    images = {f"{frame}_1080p.json": [_mmpose_person(row)] for frame, row in enumerate(coco)}
    seeds += [Seed("folder", {**images, "calibration.json": {"fps": 30}}), Seed("texts", _labels(coco))]
    seeds += [Seed("lines", lines) for lines in _lines()]
    seeds += [Seed("table", text.encode()) for text in [*_tables(), *_more_tables()]]
    return seeds + [Seed("arrays", arrays) for arrays in [*_arrays(), *_real_arrays(detections)]]


def _points(name: Detector, frames: int = 4) -> np.ndarray:
    """Return (frames, K, 3): keypoints of a person who walks, from the front."""
    skeleton = SKELETONS[name]
    of_h36m = {joint: {joint: 1.0} for joint in JOINTS} if name is Detector.H36M17 else {}
    places = {**PLACES, **skeleton.places, **of_h36m}
    weights = [places.get(keypoint, {"nose": 1.0}) for keypoint in skeleton.keypoints]
    still = np.array([[row.get(joint, 0.0) for joint in JOINTS] for row in weights]) @ STANDING
    moved = still + (300, 400) + np.arange(frames)[:, None, None] * (3, 1)
    return np.concatenate([moved, np.full((*moved.shape[:2], 1), 0.8)], axis=2).round(2)


def _openpose_person(row: np.ndarray) -> dict[str, Any]:
    return {"person_id": [-1], "pose_keypoints_2d": row.ravel().tolist()}


def _alphapose_frame(row: np.ndarray, people: str, joints: str) -> dict[str, Any]:
    return {"version": "AlphaPose v0.3", people: [{joints: row.ravel().tolist()}]}


def _trees() -> list[Any]:
    coco, halpe, media = (
        _points(Detector.COCO17),
        _points(Detector.HALPE26),
        _points(Detector.MEDIAPIPE33) / (640, 480, 1),
    )
    landmarks = [[{"x": x, "y": y, "z": -0.1, "visibility": v} for x, y, v in row] for row in media.round(4).tolist()]
    people = [
        {"image_id": f"{frame}.jpg", "category_id": 1, "keypoints": row.ravel().tolist(), "score": 2.5, "idx": who}
        for frame in range(4)
        for who, row in enumerate((coco[frame], coco[frame] + (300, 0, 0)))
    ]
    instances = [
        {"frame_id": frame, "instances": [{"keypoints": row[:, :2].tolist(), "keypoint_scores": row[:, 2].tolist()}]}
        for frame, row in enumerate(coco)
    ]
    skeletons = [
        {"frame_index": frame, "skeleton": [{"pose": row[:, :2].ravel().tolist(), "score": row[:, 2].tolist()}]}
        for frame, row in enumerate(coco)
    ]
    coco18 = _points(Detector.COCO18)
    return [
        people,
        [{"image_id": frame, "keypoints": row.ravel().tolist(), "idx": [1]} for frame, row in enumerate(halpe)],
        instances,
        {"meta_info": {"keypoint_id2name": {"0": "nose"}}, "instance_info": deepcopy(instances)},
        instances[0]["instances"],
        {"data": skeletons, "label": "walk"},
        [{"frame": frame, "landmarks": row} for frame, row in enumerate(landmarks)],
        {"frames": [None, *landmarks], "fps": 30, "width": 640, "height": 480},
        [[[lm["x"], lm["y"], lm["z"], lm["visibility"]] for lm in row] for row in landmarks],
        {"landmarks": landmarks[0]},
        landmarks[1],
        {"people": [_openpose_person(coco18[0]), _openpose_person(coco18[1] + (300, 0, 0))]},
        *(
            {f"{frame}.jpg": _alphapose_frame(row, *fields) for frame, row in enumerate(coco18)}
            for fields in (("people", "pose_keypoints_2d"), ("bodies", "joints"))
        ),
    ]


def _mmpose_person(row: np.ndarray) -> dict[str, Any]:
    return {"keypoints": row[:, :2].tolist(), "keypoint_scores": row[:, 2].tolist(), "bbox": [[0, 0, 9, 9]]}


def _more_trees() -> list[Any]:
    coco, names = _points(Detector.COCO17), SKELETONS[Detector.COCO17].keypoints
    columns = [{"x": row[:, 0].tolist(), "y": row[:, 1].tolist(), "visible": row[:, 2].tolist()} for row in coco]
    named = [
        [{"x": x, "y": y, "score": c, "name": name} for name, (x, y, c) in zip(names, row, strict=True)] for row in coco
    ]
    by_name = {f"{frame}.png": dict(zip(names, row.tolist(), strict=True)) for frame, row in enumerate(coco)}
    parts = {
        "nose": "head",
        "shoulder": "shoulder_1",
        "elbow": "forearm",
        "wrist": "hand",
        "hip": "upLeg",
        "knee": "leg",
    }
    sides = [name.rpartition("_") for name in names]
    vision = [f"{side}{dash}{parts.get(part, part)}_joint".replace("ankle", "foot") for side, dash, part in sides]
    apple = [
        {name: [x / 640, y / 640, c] for name, (x, y, c) in zip(vision, row.tolist(), strict=True)} for row in coco
    ]
    images = [{"id": n, "file_name": f"f_{n}_a1.jpg", "width": 640, "height": 480} for n in range(4)]
    marked = [
        {"image_id": n, "keypoints": (row + np.array((0, 0, 1.2))).ravel().tolist()} for n, row in enumerate(coco)
    ]
    people = np.stack([coco, coco + np.array((300, 0, 0))], axis=1)
    return [
        [[{"name": "person", "box": {"x1": 1}, "track_id": 1, "keypoints": keypoints}] for keypoints in columns],
        [[{"score": 0.7, "keypoints": keypoints}] for keypoints in named],
        [{"frame": n, "keypoints": p[..., :2].tolist(), "scores": p[..., 2].tolist()} for n, p in enumerate(people)],
        {"keypoints": people[..., :2].tolist(), "scores": people[..., 2].tolist(), "fps": 25},
        by_name,
        {"keypoints": [{"0": row[:, [1, 0, 2]].tolist()} for row in coco], "skeleton": dict(enumerate(names))},
        {"images": images, "annotations": marked, "categories": [{"id": 1, "keypoints": [*names]}]},
        [{"observations": [{"recognizedPoints": row}]} for row in apple],
    ]


def _lines() -> list[list[Any]]:
    media = (_points(Detector.MEDIAPIPE33) / (640, 480, 1)).round(4).tolist()
    landmarks = [[{"x": x, "y": y, "z": -0.1, "visibility": v} for x, y, v in row] for row in media]
    coco = _points(Detector.COCO17).tolist()
    return [
        [{"frame": frame, "landmarks": row} for frame, row in enumerate(landmarks)],
        [{"frame": float(n), "track_id": who, "keypoints": row} for n, row in enumerate(coco) for who in (1, 2)],
    ]


def _labels(coco: np.ndarray) -> dict[str, str]:
    shares = (coco / (640, 480, 1)).round(4)
    lines = [" ".join(map(str, [0, 0.5, 0.5, 0.2, 0.6, *row.ravel().tolist(), 0.9, 3])) for row in shares]
    return {**{f"walk_{frame}.txt": f"{line}\n{line}\n" for frame, line in enumerate(lines)}, "notes.txt": "hello"}


def _more_tables() -> list[str]:
    coco, names = _points(Detector.COCO17), SKELETONS[Detector.COCO17].keypoints
    wide = ["image,person_id," + ",".join(f"{name}_{axis}" for name in names for axis in ("x", "y", "conf"))]
    parts = ["scorer" + 51 * ",DLC", "individuals" + 51 * ",one"]
    parts += ["bodyparts," + ",".join(name for name in names for _ in range(3)), "coords" + 17 * ",x,y,likelihood"]
    long, cells = ["Frame;LandmarkID;X;Y"], ["frame,track_id,keypoints"]
    for frame, row in enumerate(coco):
        numbers = ",".join(map(str, row.ravel()))
        wide.append(f"f{frame}_1080p.jpg,2,{numbers}")
        parts.append(f"{frame},{numbers}")
        long += [f"{frame};{place};{x};{y}" for place, (x, y, _) in enumerate(row)]
        axes = {"x": row[:, 0].tolist(), "y": row[:, 1].tolist(), "visible": row[:, 2].tolist()}
        cells.append(f'{frame},1,"{axes}"')
    three = [line.replace(",", ",,,", 1) for line in parts[:4]] + [f",,{line}" for line in parts[4:]]  # index columns
    short = [[lines[0], "individuals", *lines[2:]] for lines in (parts, three)]
    return ["\n".join(lines) for lines in (wide, parts, long, cells, *short)]


def _real_trees(detections: Path) -> list[Any]:
    found = []
    if (path := detections / "alphapose_halpe26" / "alphapose-results.json").exists():
        found.append(json.loads(path.read_text())[:4])
    if (path := detections / "hrnet_coco17" / "baseball.json").exists():
        tree = json.loads(path.read_text())
        found.append({**tree, "data": tree["data"][:4]})
    return found


def _real_folders(detections: Path) -> list[Seed]:
    files = sorted((detections / "openpose_body25b" / "cam01_json").glob("*.json"))[:4]
    return [Seed("folder", {file.name: json.loads(file.read_text()) for file in files})] if files else []


def _tables() -> list[str]:
    values = (_points(Detector.MEDIAPIPE33) / (640, 480, 1)).round(4)
    names = SKELETONS[Detector.MEDIAPIPE33].keypoints
    wide = ["frame," + ",".join(f"{name}_{axis}" for name in names for axis in ("x", "y", "visibility"))]
    numbered = [",".join(f"{axis}{index + 1}" for index in range(33) for axis in "xyv")]
    long = ["frame,landmark,x,y,visibility"]
    for frame, row in enumerate(values):
        wide.append(f"{frame}," + ",".join(map(str, row.ravel())))
        numbered.append(",".join(map(str, row.ravel())))
        long += [f"{frame},{name}," + ",".join(map(str, row[i])) for i, name in enumerate(names)]
    return ["\n".join(lines) for lines in (wide, numbered, long, _trc())]


def _trc() -> list[str]:
    limbs = ("hip", "knee", "ankle", "shoulder", "elbow", "wrist")
    markers = {"Nose": "nose", "Neck": "neck", "Head": "head"}
    markers |= {f"{side[0].upper()}{limb.title()}": f"{side}_{limb}" for side in ("left", "right") for limb in limbs}
    lines = ["PathFileType\t4\t(X/Y/Z)\tt.trc", "DataRate\tNumFrames\tNumMarkers\tUnits", f"30\t4\t{len(markers)}\tpx"]
    lines.append("Frame#\tTime\t" + "\t\t\t".join(markers))
    lines.append("\t\t" + "\t".join(f"{axis}{marker}" for marker in range(len(markers)) for axis in "XYZ"))
    for frame, row in enumerate(_points(Detector.HALPE26)):
        of_marker = [row[SKELETONS[Detector.HALPE26].keypoints.index(name)] for name in markers.values()]
        lines.append(f"{frame}\t{frame / 30:.3f}\t" + "\t".join(f"{x}\t{y}\t0" for x, y, _ in of_marker))
    return lines


def _arrays() -> list[dict[str, Any]]:
    coco = _points(Detector.COCO17)
    of_video = {"v.mp4": {"custom": [coco[..., :2]]}, "w.mp4": {"custom": [coco[..., :2]]}}
    metadata = {"layout_name": "coco", "num_joints": 17, "video_metadata": {"v.mp4": {"w": 640, "h": 480}}}
    size = {"width": 640, "height": 480}
    media = np.concatenate([_points(Detector.MEDIAPIPE33)[..., :2] / 640, np.ones((4, 33, 2))], axis=2)
    scores = {"kpts": coco[None, ..., :2], "scores": coco[None, ..., 2]}
    faulty = np.stack([np.resize(coco, (40, 17, 3)), np.resize(coco + np.array((200, 0, 0)), (40, 17, 3))])
    faulty[:, 20:30], faulty[0, 7:9, :, 0] = faulty[::-1, 20:30], 900  # exchanged ids, and a phantom
    return [
        {"": faulty},
        {"": coco},
        {"": np.stack([coco, coco + np.array((300, 0, 0))])},
        {**scores, "skeleton": "coco17", "fps": 25, **size},
        {"poses": media, **size},
        {"positions_2d": of_video, "metadata": metadata},
    ]


def _real_arrays(detections: Path) -> list[dict[str, Any]]:
    path = detections / "hrnet_h36m" / "sample_video_keypoints.npz"
    return [{name: array[:, :30] for name, array in np.load(path).items()}] if path.exists() else []
