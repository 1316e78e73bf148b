"""Reading: every format returns its joints, missing joints stay missing, and other files are refused."""

import json
from pathlib import Path

import numpy as np
import pytest

from data_contracts.detector_skeletons import SKELETONS, Detector
from data_contracts.errors import InputError
from data_contracts.parameters import KeypointsParameters
from data_contracts.skeleton import JOINTS
from data_contracts.sources import find_keypoints
from tasks.lifting.formats.reading import read_keypoints
from tasks.lifting.tracks import tracks_of
from tests.tasks.lifting.formats.writing import (
    alphapose,
    alphapose_by_image,
    body,
    mediapipe,
    mmpose,
    openpose,
    seen_by,
    triples,
)

DETECTIONS = Path(__file__).parents[5] / "shared" / "detections"
IMAGE = {"width": 640, "height": 480}
PELVIS, RIGHT_HIP, SPINE = (JOINTS.index(name) for name in ("pelvis", "right_hip", "spine"))


def read(path, **parameters):
    (found,), _ = read_keypoints(find_keypoints(path), KeypointsParameters(**parameters))
    return found


def joints_of(path, **parameters):
    """Return the pose (frames, 17, 3) of the only track."""
    found = read(path, **parameters)
    (track,) = tracks_of(found, 0)
    return track.pose_2d


def write(path, tree):
    path.write_text(json.dumps(tree))
    return path


def expected(name):
    """Return the joints derived from the detector's keypoints on the body."""
    points = seen_by(name, body())
    return SKELETONS[name].to_h36m(points, np.full(points.shape[:2], 0.9))[0]


def written(folder, name):
    """Write the body in every format of this skeleton."""
    values = triples(seen_by(name, body()))
    np.save(folder / "a.npy", values)
    np.savez(folder / "a.npz", kpts=values[None, ..., :2], scores=values[None, ..., 2], skeleton=str(name), fps=25)
    found = [folder / "a.npy", folder / "a.npz", write(folder / "mm.json", mmpose(values))]
    if name in (Detector.COCO17, Detector.HALPE26, Detector.HALPE136):
        found.append(write(folder / "alpha.json", alphapose(values)))
    if name in (Detector.COCO18, Detector.BODY25, Detector.BODY25B):
        found.append(openpose(folder / "open", values))
    if name is Detector.MEDIAPIPE33:
        found.append(write(folder / "media.json", mediapipe(values)))
    if name is Detector.COCO17:
        frames = [
            {"frame_index": frame, "skeleton": [{"pose": row[:, :2].tolist(), "score": row[:, 2:].tolist()}]}
            for frame, row in enumerate(values)
        ]
        found.append(write(folder / "skeletons.json", {"data": frames}))
    return found


@pytest.mark.parametrize("name", list(Detector))
def test_every_format_is_read_and_its_skeleton_is_detected(name, tmp_path):
    for path in written(tmp_path, name):
        found = joints_of(path, **(IMAGE if name is Detector.MEDIAPIPE33 else {}))
        np.testing.assert_allclose(found[..., :2], expected(name), atol=2e-3, err_msg=path.name)
        np.testing.assert_allclose(found[..., 2], 0.9, atol=1e-6)
        assert read(path, **IMAGE).skeleton is name


@pytest.mark.parametrize("people", ["people", "bodies"])
def test_alphapose_formats_agree(people, tmp_path):
    values = triples(seen_by(Detector.COCO17, body()), 3.0)
    by_image = alphapose_by_image(values, people)
    (tmp_path / "sep-json").mkdir()
    for name, frame in by_image.items():
        write(tmp_path / "sep-json" / f"{name.split('.')[0]}.json", frame)
    for path in (write(tmp_path / "alphapose-results.json", by_image), tmp_path / "sep-json"):
        found = joints_of(path)
        np.testing.assert_allclose(found[..., :2], expected(Detector.COCO17), atol=2e-3)
        np.testing.assert_allclose(found[..., 2], 0.5, atol=1e-6)  # of 6: AlphaPose's scale
        assert read(path, format="alphapose").skeleton is Detector.COCO17
    assert len(read(tmp_path / "sep-json" / "3.json").frame) == 1
    with pytest.raises(InputError, match=r"has format alphapose, but keypoints\.format is mmpose"):
        read(tmp_path / "sep-json", format="mmpose")


def test_wrong_neck_of_alphapose_is_ignored(tmp_path):
    values = triples(seen_by(Detector.HALPE26, body()))  # its 18th keypoint is the top of the head
    found = joints_of(write(tmp_path / "a.json", alphapose_by_image(values)))
    thorax = JOINTS.index("thorax")
    shoulders = values[:, [5, 6], :2].mean(axis=1)
    np.testing.assert_allclose(found[:, thorax, :2], shoulders, atol=2e-3)


def test_requested_alphapose_format_applies_its_confidence_scale(tmp_path):
    values = triples(seen_by(Detector.COCO17, body()), 3.0)
    for name, frame in alphapose_by_image(values).items():
        write(tmp_path / f"{name.split('.')[0]}.json", {**frame, "version": 0.1})  # as its documentation has it
    assert read(tmp_path).confidence.max() == 1
    assert read(tmp_path, format="alphapose").confidence.max() == 0.5


def test_the_landmarks_of_one_image_are_one_frame(tmp_path):
    landmarks = mediapipe(triples(seen_by(Detector.MEDIAPIPE33, body(1))))[0]["landmarks"]
    rows = [[one["x"], one["y"], one["z"], one["visibility"]] for one in landmarks]
    for tree in (landmarks, rows, {"landmarks": landmarks}, {"landmark": landmarks}, {"pose_landmarks": [landmarks]}):
        found = joints_of(write(tmp_path / "m.json", tree), **IMAGE)
        np.testing.assert_allclose(found[..., :2], expected(Detector.MEDIAPIPE33)[:1], atol=2e-3)


def test_mediapipe_json_may_contain_fps_and_image_size(tmp_path):
    frames = mediapipe(triples(seen_by(Detector.MEDIAPIPE33, body())))
    found = read(write(tmp_path / "m.json", {"fps": 29.97, "width": 640, "height": 480, "frames": frames}))
    assert (found.fps, found.width, found.height) == (29.97, 640, 480)
    np.testing.assert_allclose(found.points, seen_by(Detector.MEDIAPIPE33, body()), atol=2e-3)


def test_mediapipe_tables_are_read_wide_and_long(tmp_path):
    values = triples(seen_by(Detector.MEDIAPIPE33, body())) / (640, 480, 1)
    names = SKELETONS[Detector.MEDIAPIPE33].keypoints
    wide = ["frame," + ",".join(f"{name}_{axis}" for name in names for axis in ("x", "y", "visibility"))]
    numbered = [",".join(f"{axis}{i + 1}" for i in range(33) for axis in "xyv")]
    long = ["frame,landmark,x,y,visibility"]
    for frame, row in enumerate(values):
        wide.append(f"{frame}," + ",".join(map(str, row.ravel())))
        numbered.append(",".join(map(str, row.ravel())))
        long += [f"{frame},{name}," + ",".join(map(str, row[i])) for i, name in enumerate(names)]
    for lines in (wide, numbered, long):
        (tmp_path / "t.csv").write_text("\n".join(lines))
        np.testing.assert_allclose(
            joints_of(tmp_path / "t.csv", **IMAGE)[..., :2], expected(Detector.MEDIAPIPE33), atol=2e-3
        )


def test_shares_of_the_image_require_its_size(tmp_path):
    path = write(tmp_path / "m.json", mediapipe(triples(seen_by(Detector.MEDIAPIPE33, body()))))
    with pytest.raises(InputError, match=r"m\.json: .*fractions of the image size.*keypoints\.width"):
        read(path)


def test_videos_of_videopose3d_are_separate_and_have_their_size(tmp_path):
    points = seen_by(Detector.COCO17, body())
    videos = {"a.mp4": {"custom": [points]}, "b.mp4": {"custom": [points + 50]}}
    metadata = {"layout_name": "coco", "num_joints": 17, "video_metadata": {"a.mp4": {"w": 640, "h": 480}}}
    np.savez(tmp_path / "v.npz", positions_2d=videos, metadata=metadata)
    found, _ = read_keypoints(find_keypoints(tmp_path / "v.npz"), KeypointsParameters())
    assert [(one.video, one.width, one.height) for one in found] == [
        ("a.mp4/custom", 640, 480),
        ("b.mp4/custom", None, None),
    ]
    np.testing.assert_allclose(found[1].points, points + 50)


def test_midpoint_with_a_missing_joint_is_missing(tmp_path):
    values = triples(seen_by(Detector.COCO17, body()))
    values[4, 12, 2] = 0  # right hip
    values[5, 12, 2] = 0.01  # below min_confidence
    found = joints_of(write(tmp_path / "a.json", alphapose(values)))
    for frame in (4, 5):
        assert (found[frame, [PELVIS, RIGHT_HIP, SPINE]] == 0).all()
    assert (np.delete(found[..., 2], (PELVIS, RIGHT_HIP, SPINE), axis=1) > 0).all()
    array = values[..., :2].copy()
    array[4, 12], array[5, 12] = np.nan, 0
    np.save(tmp_path / "a.npy", array)
    assert (joints_of(tmp_path / "a.npy")[4:6, [PELVIS, RIGHT_HIP, SPINE]] == 0).all()


def test_confidences_are_scaled_by_format(tmp_path):
    points = seen_by(Detector.COCO17, body())
    overshoot = write(tmp_path / "a.json", alphapose(triples(points, 1.07)))
    assert read(overshoot).confidence.max() == 1
    old = write(tmp_path / "b.json", alphapose(triples(points, 3.0)))
    assert read(old).confidence.max() == 0.5
    certain = write(tmp_path / "c.json", mmpose(triples(points, 7.0)))
    assert read(certain).confidence.max() == 1
    np.save(tmp_path / "d.npy", triples(points, 90.0))
    with pytest.raises(InputError, match=r"d\.npy: frame 0: keypoint 0: confidence 90"):
        read(tmp_path / "d.npy")


def test_a_whole_body_is_read_by_its_first_17_keypoints(tmp_path):
    points = np.concatenate([seen_by(Detector.COCO17, body()), np.full((12, 116, 2), 250.0)], axis=1)
    path = write(tmp_path / "a.json", mmpose(triples(points)))
    np.testing.assert_allclose(joints_of(path)[..., :2], expected(Detector.COCO17), atol=2e-3)


def test_requested_skeleton_must_fit(tmp_path):
    path = write(tmp_path / "a.json", alphapose(triples(seen_by(Detector.COCO17, body()))))
    assert read(path, skeleton=Detector.H36M17).skeleton is Detector.H36M17
    with pytest.raises(InputError, match=r"has 17 keypoints per person, but skeleton halpe26 \(requested\) has 26"):
        read(path, skeleton=Detector.HALPE26)
    with pytest.raises(InputError, match=r"has format alphapose, but keypoints\.format is arrays"):
        read(path, format="arrays")


REAL = {
    "alphapose_halpe26/alphapose-results.json": (Detector.HALPE26, [809, 1]),
    "hrnet_coco17/baseball.json": (Detector.COCO17, [277]),
    "hrnet_h36m/sample_video1_keypoints.npz": (Detector.H36M17, [77]),
    "hrnet_h36m/sample_video_keypoints.npz": (Detector.H36M17, [185]),
    "openpose_body25b/cam01_json": (Detector.BODY25B, [100, 100, 1]),
    "openpose_body25b/cam02_json": (Detector.BODY25B, [100, 100]),
}


@pytest.mark.parametrize("name", list(REAL))
def test_real_detections_are_recognised_and_tracked(name):
    path = DETECTIONS / name
    if not path.exists():
        pytest.skip(f"real detections are absent: no {path}")
    found = read(path)
    skeleton, lengths = REAL[name]
    assert found.skeleton is skeleton
    assert [len(track.pose_2d) for track in tracks_of(found, 10)] == lengths


def test_keypoint_at_0_0_is_missing_with_any_confidence(tmp_path):
    values = triples(seen_by(Detector.COCO17, body()))
    values[4, 12, :2] = 0  # right hip, as Ultralytics up to 8.3 wrote one of confidence below 0.5
    values[5, 12, 0] = 0  # on the image's edge
    found = joints_of(write(tmp_path / "a.json", alphapose(values)))
    assert (found[4, RIGHT_HIP] == 0).all()
    assert found[5, RIGHT_HIP, 2] > 0


def test_ids_of_a_detector_are_used_if_all_people_have_one(tmp_path):
    people = alphapose(triples(seen_by(Detector.COCO17, body(3))), [7])
    assert read(write(tmp_path / "a.json", people)).person.tolist() == [7, 7, 7]
    del people[1]["idx"]
    assert read(write(tmp_path / "a.json", people)).person is None
    frames = mmpose(triples(seen_by(Detector.COCO17, body(3))))
    for frame in frames:
        frame["instances"][0]["track_id"] = 2
    assert read(write(tmp_path / "m.json", frames)).person.tolist() == [2, 2, 2]
    frames[1]["instances"][0]["track_id"] = "two"
    with pytest.raises(
        InputError, match=r"m\.json: frame 1: expected an integer from 0 to .* as id of a person, not 'two'"
    ):
        read(write(tmp_path / "m.json", frames))
