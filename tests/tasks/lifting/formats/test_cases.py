"""Files that users have and that were refused or read wrongly: a person who walks, in `tests/data/cases`."""

import json
import shutil

import numpy as np
import pytest

from data_contracts.detector_skeletons import SKELETONS, Detector
from data_contracts.errors import InputError
from data_contracts.parameters import KeypointsParameters
from data_contracts.sources import find_keypoints
from tasks.lifting.formats.folders import find_keypoint_files
from tasks.lifting.formats.reading import read_keypoints
from tasks.lifting.tracks import tracks_of
from tests.tasks.lifting.formats.writing import CASES, COCO, FRAMES, read, walker

SIZE = {"width": 1280, "height": 720}
ULTRALYTICS = CASES / "ultralytics_outputs_refused"


def columns(keypoints):
    return np.stack([keypoints["x"], keypoints["y"]], axis=-1)


def test_ultralytics_json_is_read():
    frames = json.loads((ULTRALYTICS / "to_json.json").read_text())
    found, warnings = read(ULTRALYTICS / "to_json.json")
    np.testing.assert_allclose(found.points, [columns(people[0]["keypoints"]) for people in frames])
    assert (found.skeleton, found.confidence.max(), warnings) == (Detector.COCO17, 0.9, [])
    assert set(found.person) == {1}


def test_ultralytics_labels_are_frames_of_one_video_and_need_its_size(tmp_path):
    found, warnings = read(ULTRALYTICS / "labels", **SIZE)
    np.testing.assert_allclose(found.points, read(ULTRALYTICS / "to_json.json")[0].points, atol=0.06)
    assert (found.skeleton, warnings) == (Detector.COCO17, [])
    np.testing.assert_allclose(found.confidence, 0.9)
    assert found.frame.tolist() == [*range(1, FRAMES + 1)]
    with pytest.raises(InputError, match=r"fractions of the image size.*keypoints\.width"):
        read(ULTRALYTICS / "labels")
    shutil.copytree(ULTRALYTICS / "labels", tmp_path / "labels")
    (tmp_path / "labels" / "classes.txt").write_text("person\n")
    assert "classes.txt" in read(tmp_path / "labels", **SIZE)[1][0]
    (tmp_path / "labels" / "walk_3.txt").write_text("0\n" * 1000)
    with pytest.raises(InputError, match=r"walk_3\.txt: has more than 200 lines"):
        read(tmp_path / "labels", **SIZE)
    (tmp_path / "labels" / "walk_3.txt").write_text("0 0.5 0.5 what\n")
    with pytest.raises(InputError, match=r"walk_3\.txt: a line has other text than numbers"):
        read(tmp_path / "labels", **SIZE)


@pytest.mark.parametrize(("more", "ids"), [(" 0.91 7", [7]), (" 7", [7]), (" 0.91", None)])
def test_ultralytics_labels_may_have_a_score_and_an_id(more, ids, tmp_path):
    for file in sorted((ULTRALYTICS / "labels").iterdir()):
        (tmp_path / file.name).write_text(file.read_text().strip() + more + "\n")
    found, _ = read(tmp_path, **SIZE)
    assert (found.person if ids is None else sorted(set(found.person))) == ids


def test_coco_annotations_are_read_with_names_size_and_visibility(tmp_path):
    found, warnings = read(COCO)
    np.testing.assert_allclose(found.points, walker())
    assert (found.skeleton, found.width, found.height, warnings) == (Detector.COCO17, 1280, 720, [])
    assert (found.confidence == 1).all()
    tree = json.loads(COCO.read_text())
    tree["annotations"][3]["keypoints"][2:6:3] = [1, 0]
    (tmp_path / "list.json").write_text(json.dumps(tree["annotations"]))
    (tmp_path / "whole.json").write_text(json.dumps(tree))
    for name in ("list.json", "whole.json"):
        found, _ = read(tmp_path / name, skeleton="coco17")
        assert found.confidence[3, :3].tolist() == [0.5, 0, 1]


def test_coco_annotations_follow_the_names_of_images_and_keypoints(tmp_path):
    tree = json.loads(COCO.read_text())
    tree["images"] = [
        {**image, "id": 1000 - image["id"], "file_name": image["file_name"].replace(".jpg", f"_jpg.rf.{hash_}c.jpg")}
        for image, hash_ in zip(tree["images"], ("7d1", "44a", "0b", "8f2") * 3, strict=True)
    ][::-1]
    tree["categories"][0]["keypoints"].reverse()
    for entry in tree["annotations"]:
        entry["image_id"] = 1000.0 - entry["image_id"]
        entry["keypoints"] = np.array(entry["keypoints"]).reshape(17, 3)[::-1].ravel().tolist()
    (tmp_path / "c.json").write_text(json.dumps(tree))
    np.testing.assert_allclose(read(tmp_path / "c.json")[0].points, walker())


@pytest.mark.parametrize(("name", "confidence"), [("named.csv", 0.9), ("numbered.csv", 1.0)])
def test_coco_tables_are_read(name, confidence, tmp_path):
    found, warnings = read(CASES / "coco_csv_refused" / name)
    np.testing.assert_allclose(found.points, walker())
    assert (found.skeleton, warnings) == (Detector.COCO17, [])
    assert (found.confidence == confidence).all()


def test_tables_have_columns_for_people_and_images_and_other_columns(tmp_path):
    keypoints = SKELETONS[Detector.COCO17].keypoints
    names = [f"{name.title().replace('_', '')}{axis}" for name in keypoints for axis in ("X", "Y", "Score")]
    lines = ["image,label,Track ID," + ",".join(names)]
    for frame, row in enumerate(walker()):
        for person in ("left", "right"):
            moved = row + np.array((300 if person == "right" else 0, 0))
            fields = [f"{x},{y}," if k == 3 else f"{x},{y},0.8" for k, (x, y) in enumerate(moved)]
            lines.append(f"cam_{frame:03d}_1080p.png,a person,{person}," + ",".join(fields))
    (tmp_path / "t.csv").write_text("\n".join(lines))
    (found,), _ = read_keypoints(find_keypoints(tmp_path / "t.csv"), KeypointsParameters())
    assert [len(track.pose_2d) for track in tracks_of(found, 0)] == [FRAMES, FRAMES]
    assert (found.frame[:4].tolist(), found.person[:4].tolist()) == ([0, 0, 1, 1], [0, 1, 0, 1])
    assert (found.confidence[:, 3] == 0).all()
    np.testing.assert_allclose(found.points[::2, 4:], walker()[:, 4:])


@pytest.mark.parametrize("individuals", [[""], ["a", "b"]])
def test_deeplabcut_tables_are_read(individuals, tmp_path):
    names = SKELETONS[Detector.COCO17].keypoints
    parts = [(one, name, axis) for one in individuals for name in names for axis in ("x", "y", "likelihood")]
    lines = ["scorer," + ",".join("DLC_resnet50" for _ in parts)]
    lines += ["individuals," + ",".join(part[0] for part in parts)] if len(individuals) > 1 else []
    lines += ["bodyparts," + ",".join(part[1] for part in parts), "coords," + ",".join(part[2] for part in parts)]
    for frame, row in enumerate(walker()):
        moved = [row + np.array((300 * place, 0)) for place in range(len(individuals))]
        lines.append(f"{frame}," + ",".join(f"{x},{y},0.7" for person in moved for x, y in person))
    (tmp_path / "d.csv").write_text("\n".join(lines))
    (found,), _ = read_keypoints(find_keypoints(tmp_path / "d.csv"), KeypointsParameters())
    assert (found.skeleton, len(tracks_of(found, 0))) == (Detector.COCO17, len(individuals))
    np.testing.assert_allclose(found.points[:: len(individuals)], walker())


def test_error_of_a_table_names_its_columns(tmp_path):
    (tmp_path / "t.csv").write_text("frame,nose_x,nose_y,speed\n0,1,2,3\n")
    with pytest.raises(InputError, match=r"t\.csv: has no columns for x and y .*COCO \(17\).*'nose_x'"):
        read(tmp_path / "t.csv")


def test_a_folder_with_one_json_per_image_is_one_video(tmp_path):
    folder = CASES / "mmpose_folder_of_images" / "predictions"
    found, warnings = read(folder)
    np.testing.assert_allclose(found.points, walker())
    assert (found.skeleton, warnings) == (Detector.COCO17, [])
    shutil.copytree(folder, tmp_path / "p")
    with_header = {"meta_info": {}, "instance_info": json.loads((folder / "frame_000003.json").read_text())}
    (tmp_path / "p" / "frame_000003.json").write_text(json.dumps(with_header))
    (tmp_path / "p" / "frame_000005.json").write_text("[]")  # nobody
    (found,), _ = read_keypoints(find_keypoints(tmp_path / "p"), KeypointsParameters())
    assert found.frame.tolist() == [0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11]


def test_a_folder_with_one_json_per_video_has_several_sources(tmp_path):
    for name in ("walk_1", "walk_2", "walk_3"):
        shutil.copy(CASES / "image_names_number_not_last" / "suffix_1080p.json", tmp_path / f"{name}.json")
    assert [*find_keypoint_files(tmp_path)] == ["walk_1", "walk_2", "walk_3"]
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "a.mp4").write_bytes(b"\x00\x00\x00\x20ftypisom")
    assert [*find_keypoint_files(tmp_path / "videos")] == ["a"]


@pytest.mark.parametrize(("name", "confidence"), [("long_LandmarkID.csv", 1.0), ("wide_L0_x.csv", 0.9)])
def test_headers_of_mediapipe_tables_vary(name, confidence):
    found, warnings = read(CASES / "mediapipe_csv_headers_refused" / name, **SIZE)
    assert (found.skeleton, warnings) == (Detector.MEDIAPIPE33, [])
    np.testing.assert_allclose(found.points[:, 0], walker()[:, 0], atol=6)  # the nose, with other noise
    assert (found.confidence == confidence).all()


@pytest.mark.parametrize(
    "header",
    ["{k}_x,{k}_y,{k}_v", "X{k},Y{k},V{k}", "kp{k}_x,kp{k}_y,kp{k}_conf", "pose_{k}_x,pose_{k}_y,left_hand_{k}_x"],
)
def test_numbered_columns_have_any_prefix(header, tmp_path):
    rows = [",".join(f"{x / 1280},{y / 720},1" for x, y in np.repeat(row, 2, axis=0)[:33]) for row in walker()]
    lines = [",".join(header.format(k=k) for k in range(33)), *rows]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    assert read(tmp_path / "t.csv", **SIZE)[0].skeleton is Detector.MEDIAPIPE33


def test_simcc_scores_are_cut_with_a_warning():
    found, warnings = read(CASES / "openpose_json_simcc_scores" / "cam01_json")
    assert (found.skeleton, found.confidence.min(), found.confidence.max()) == (Detector.HALPE26, 1, 1)
    np.testing.assert_allclose(found.points[0, 0], walker()[0, 0])
    assert "confidences up to 6.49 were cut at 1" in warnings[0]


def test_a_folder_of_frames_may_hold_another_json(tmp_path):
    found, warnings = read(CASES / "openpose_folder_with_other_json" / "out")
    assert found.skeleton is Detector.BODY25
    assert len(warnings) == 1
    assert "calibration.json: ignored" in warnings[0]
    shutil.copytree(CASES / "openpose_folder_with_other_json" / "out", tmp_path / "out")
    (tmp_path / "out" / "walk_000000000003_keypoints.json").write_text("{}")
    with pytest.raises(InputError, match="walk_000000000003_keypoints"):
        read(tmp_path / "out")


@pytest.mark.parametrize("name", ["suffix_1080p.json", "timestamps.json"])
def test_the_part_of_image_names_that_counts_up_is_the_frame_number(name):
    found, warnings = read(CASES / "image_names_number_not_last" / name)
    np.testing.assert_allclose(found.points, walker())
    assert (found.frame.tolist(), warnings) == ([*range(FRAMES)], [])


def test_files_of_a_folder_have_different_names(tmp_path):
    for name in ("walk.json", "walk.npz", "walk.json.npz", "run.json", "run.1.json"):
        (tmp_path / name).write_text("")
    found = find_keypoint_files(tmp_path)
    assert {name: source.path.name for name, source in found.items()} == {
        "walk.json": "walk.json",
        "walk.npz": "walk.npz",
        "walk.json.npz": "walk.json.npz",
        "run": "run.json",
        "run.1": "run.1.json",
    }
