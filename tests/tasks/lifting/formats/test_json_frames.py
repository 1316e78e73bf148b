"""JSON of frames with people, in the shapes that detectors and scripts write."""

import json

import numpy as np
import pytest

from data_contracts.detector_skeletons import SKELETONS, Detector
from data_contracts.parameters import KeypointsParameters
from data_contracts.sources import find_keypoints
from tasks.lifting.formats.reading import read_keypoints
from tests.tasks.lifting.formats.writing import body, mediapipe, seen_by, triples

COCO = triples(seen_by(Detector.COCO17, body())).round(2)
ROWS = COCO.tolist()
NAMES = SKELETONS[Detector.COCO17].keypoints
NAMED = [[{"x": x, "y": y, "score": c, "name": n} for n, (x, y, c) in zip(NAMES, row, strict=True)] for row in ROWS]
PARTS = [
    [{"position": {"x": one["x"], "y": one["y"]}, "score": one["score"], "part": one["name"]} for one in row]
    for row in NAMED
]
AXES = [{"x": row[:, 0].tolist(), "y": row[:, 1].tolist(), "visible": row[:, 2].tolist()} for row in COCO]
PEOPLE, SCORES = COCO[:, None, :, :2].tolist(), COCO[:, None, :, 2].tolist()

SHAPES = {
    "rows by number as floats": [{"frame": float(frame), "keypoints": row} for frame, row in enumerate(ROWS)],
    "rows by image": [{"image": f"f{frame}_x1.png", "keypoints": row} for frame, row in enumerate(ROWS)],
    "people with other scores": {
        "data": [{"detections": [{"kpts": PEOPLE[n][0], "keypoints_conf": SCORES[n][0]}]} for n in range(len(COCO))]
    },
    "people by id": [{"frame": frame, "people": {"4": {"keypoints": row}}} for frame, row in enumerate(ROWS)],
    "bare numbers": ROWS,
    "MoveNet": [[{"score": 0.8, "keypoints": row}] for row in NAMED],
    "MoveNet, one person": [{"score": 0.8, "keypoints": row[::-1]} for row in NAMED],
    "PoseNet": [{"poses": [{"keypoints": row}]} for row in PARTS],
    "by name": {f"f_{n}.png": {one["name"]: [one["x"], one["y"], 0.9] for one in row} for n, row in enumerate(NAMED)},
    "rtmlib": [{"frame_id": n, "keypoints": PEOPLE[n], "scores": SCORES[n]} for n in range(len(COCO))],
    "rtmlib, by frame": {str(n): {"keypoints": PEOPLE[n], "scores": SCORES[n]} for n in range(len(COCO))},
    "rtmlib, columns": {"keypoints": PEOPLE, "scores": SCORES},
    "easy_ViTPose": {
        "keypoints": [{"0": row[:, [1, 0, 2]].tolist()} for row in COCO],
        "skeleton": dict(enumerate(NAMES)),
    },
    "Ultralytics, rows": [{"frame": frame, "box": {}, "keypoints": axes} for frame, axes in enumerate(AXES)],
    "Ultralytics, texts": [json.dumps([{"box": {}, "keypoints": axes}]) for axes in AXES],
}


def read(path, **parameters):
    (found,), _ = read_keypoints(find_keypoints(path), KeypointsParameters(**parameters))
    return found


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_is_read_also_as_json_lines(shape, tmp_path):
    tree = SHAPES[shape]
    (tmp_path / "f.json").write_text(json.dumps(tree))
    paths = [tmp_path / "f.json"]
    if isinstance(tree, list) and not isinstance(tree[0], str):
        (tmp_path / "f.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in tree))
        paths.append(tmp_path / "f.jsonl")
    for path in paths:
        found = read(path)
        assert found.skeleton is Detector.COCO17
        assert found.frame.tolist() == [*range(len(COCO))]
        np.testing.assert_allclose(found.points, COCO[..., :2])
        np.testing.assert_allclose(found.confidence, 0.9)


APPLE = {"nose": "head", "shoulder": "shoulder_1", "elbow": "forearm", "wrist": "hand"}
APPLE |= {"hip": "upLeg", "knee": "leg", "ankle": "foot"}


@pytest.mark.parametrize("shape", ["by name", "list", "observations"])
def test_apple_vision_has_names_of_its_own_and_y_up(shape, tmp_path):
    size = np.array((1280, 720))
    sides = [name.rpartition("_") for name in NAMES]
    names = [f"{side}{dash}{APPLE.get(part, part)}_joint" for side, dash, part in sides]
    people = []
    for row in COCO:
        shares = row[:, :2] / size
        people.append({n: {"x": x, "y": 1 - y, "confidence": 0.9} for n, (x, y) in zip(names, shares, strict=True)})
    if shape == "list":
        people = [[{"name": name, **point} for name, point in person.items()] for person in people]
    frames = [{"frame": frame, "joints": person} for frame, person in enumerate(people)]
    if shape == "observations":
        frames = [{"observations": [{"recognizedPoints": person}]} for person in people]
    (tmp_path / "f.json").write_text(json.dumps({"frames": frames}))
    found = read(tmp_path / "f.json", width=1280, height=720)
    assert found.skeleton is Detector.COCO17
    np.testing.assert_allclose(found.points, COCO[..., :2])


def test_json_lines_of_mediapipe_are_read_with_frames_without_a_person(tmp_path):
    frames = mediapipe(triples(seen_by(Detector.MEDIAPIPE33, body())))
    frames[3]["landmarks"], frames[4]["landmarks"] = None, []
    (tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, frames)))
    found = read(tmp_path / "m.jsonl", width=640, height=480)
    assert (found.skeleton, len(found.frame)) == (Detector.MEDIAPIPE33, len(frames) - 2)


@pytest.mark.parametrize("missing", [None, [None, None, None], [float("nan"), 3.0, 0.9], [3.0, 4.0, None]])
def test_null_and_nan_are_missing(missing, tmp_path):
    rows = [[missing if place == 3 else point for place, point in enumerate(row)] for row in ROWS]
    (tmp_path / "f.json").write_text(json.dumps([{"keypoints": row} for row in rows]))
    found = read(tmp_path / "f.json", skeleton="coco17")
    assert (found.confidence[:, 3] == 0).all()
    assert (found.points[:, 3] == 0).all()
    np.testing.assert_allclose(found.points[:, 4:], COCO[:, 4:, :2])


@pytest.mark.parametrize("cells", [AXES, ROWS], ids=["axes", "rows"])
def test_a_table_may_have_all_keypoints_in_one_cell(cells, tmp_path):
    lines = [f'{frame},person,7,"{cell}"' for frame, cell in enumerate(cells)]
    (tmp_path / "t.csv").write_text("\n".join(["frame,name,track_id,keypoints", *lines]))
    found = read(tmp_path / "t.csv")
    np.testing.assert_allclose(found.points, COCO[..., :2])
    assert (found.skeleton, set(found.person)) == (Detector.COCO17, {0})
