"""Tests of the model in MLflow's scoring server: it lifts windows and keypoints, and answers bad input with 400."""

import json
import shutil

import mlflow
import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import scoring_server

from data_contracts.detector_skeletons import SKELETONS, Detector
from data_contracts.parameters import LiftParameters, NetworkConfig, SyntheticParameters
from data_contracts.store.digests import StageKey
from data_contracts.store.folders import resolve_checkpoint
from data_contracts.tracks.track import Track
from model.lifting.lift import lift_people
from model.lifting.lifter import Lifter, load_lifter
from model.network.network import PoseNetwork
from model.training.checkpoints import save_network
from tasks.serving.served_lifter import MAX_POSES, MAX_TRACKS
from tasks.serving.server import MAX_BODY, BodyLimit, load_model
from tasks.tracking.registry import register_challenger
from tasks.tracking.runs import track_pipeline
from tests.tasks.lifting.formats.writing import body, seen_by, triples

WINDOW = 9


@pytest.fixture(scope="module")
def network() -> PoseNetwork:
    torch.manual_seed(0)
    network = PoseNetwork(NetworkConfig(embed_dim=8, heads=2, fusion_depth=1, max_frames=WINDOW)).eval()
    for weights in network.head.parameters():  # the head is initialised to zero
        torch.nn.init.normal_(weights)
    return network


@pytest.fixture(scope="module")
def registered(mlflow_database, network, tmp_path_factory):
    """Return a registered version as MLflow loads it."""
    store = tmp_path_factory.mktemp("store")
    shutil.copy(mlflow_database, store)
    save_network(store / "model.safetensors", network, {})
    with track_pipeline(store, StageKey("pipelines", "pipeline", SyntheticParameters(), {})) as tracked:
        register_challenger(tracked, store / "model.safetensors", "a digest", {}, flip=True)
    return mlflow.pyfunc.load_model("models:/pose-uplift@challenger")


@pytest.fixture
def post(registered, monkeypatch):
    """Return a function that posts to the server of the registered version and returns the response."""
    monkeypatch.setenv("_MLFLOW_IS_IN_SERVING_ENVIRONMENT", "true")  # the server sets it permanently
    client = TestClient(BodyLimit(scoring_server.init(registered)))

    def send(body, kind="application/json"):
        text = json.dumps(body) if isinstance(body, dict | list) else body
        return client.post("/invocations", content=text, headers={"content-type": kind})

    return send


def poses(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)


def test_any_number_of_windows_is_lifted_as_in_evaluation(post, network):
    for count in (1, 257):  # more than one batch
        windows = poses(count, WINDOW, 17, 3)
        answer = post({"inputs": windows.tolist()})
        assert answer.status_code == 200, answer.text
        with torch.inference_mode():
            expected = Lifter(network, WINDOW)(torch.from_numpy(windows)).numpy()
        np.testing.assert_allclose(answer.json()["predictions"], expected, atol=1e-5)


def test_a_wrong_window_is_a_400_with_the_expected_and_the_received_shape(post):
    good = poses(1, WINDOW, 17, 3)
    for shape in ((WINDOW, 17, 3), (1, 1, WINDOW, 17, 3), (1, 8, 17, 3), (1, 10, 17, 3), (1, WINDOW, 16, 3)):
        expected = f"expected shape (-1, {WINDOW}, 17, 3)" if len(shape) == 4 else "expected shape (-1, -1, -1, -1)"
        assert_400(post({"inputs": poses(*shape).tolist()}), str(shape), expected)
    assert_400(post({"inputs": poses(1, WINDOW, 17, 2).tolist()}), f"(1, {WINDOW}, 17, 2)", f"(-1, {WINDOW}, 17, 3)")
    for number, text in ((float("nan"), "nan"), (None, "nan"), (1e300, "inf"), (640.5, "640.5")):
        windows = good.tolist()
        windows[0][3][2][1] = number
        assert_400(post({"inputs": windows}), f"frame 3, right_knee: y is {text}", "scaled to [-1, 1]")
    words = good.tolist()
    words[0][3][2][1] = "a knee"
    assert_400(post({"inputs": words}), "a knee")
    ragged = poses(2, WINDOW, 17, 3).tolist()
    ragged[1].pop()
    assert_400(post({"inputs": ragged}), "inhomogeneous shape")
    for nothing in ([], [[]]):
        assert_400(post({"inputs": nothing}), "(-1, -1, -1, -1")
    for other in ({}, {"windows": good.tolist()}, good.tolist(), {"inputs": [], "instances": []}):
        assert_400(post(other), "exactly one of the input fields")
    for other in ({"pose": 1}, None, "windows"):
        assert_400(post({"inputs": other}), "Invalid input")
    assert_400(post({"dataframe_split": {"columns": ["x"], "data": [[1.0]]}}), "(-1, -1, -1, -1)")
    assert_400(post("{"), "valid JSON")
    assert_400(post("x,y\n1,2\n", "text/csv"), "Failed to parse")
    assert post({"inputs": good.tolist()}).status_code == 200  # and the server still works


def keypoints(frames=40):
    """Return COCO-17 keypoints (1, frames, 17, 3) of a walking person, in pixels with confidence."""
    return triples(seen_by(Detector.COCO17, body(frames)))[None]


def test_keypoints_of_any_length_are_lifted_as_by_lift_people(post, network):
    inputs = keypoints()
    params = {"skeleton": "coco17", "fps": 30.0, "height": 1.8, "image_width": 640, "image_height": 480}
    answer = post({"inputs": inputs.tolist(), "params": params})
    assert answer.status_code == 200, answer.text
    joints, confidence = SKELETONS[Detector.COCO17].to_h36m(inputs[0, ..., :2], inputs[0, ..., 2])
    pose_2d = np.concatenate([joints, confidence[..., None]], axis=-1).astype(np.float32)
    track = Track("0", -1, 0, pose_2d, np.zeros(pose_2d.shape[:2], bool), 30.0, 640, 480)
    (motion,) = lift_people(Lifter(network, WINDOW), [track], LiftParameters(height=1.8))
    np.testing.assert_allclose(answer.json()["predictions"], motion.pose_3d[None], atol=1e-4)
    in_world = post({"inputs": inputs.tolist(), "params": params | {"root": True}})
    np.testing.assert_allclose(in_world.json()["predictions"], motion.joints[None], atol=1e-3)


def test_missing_keypoints_are_null_or_have_no_confidence(post):
    inputs = keypoints().tolist()
    for keypoint in inputs[0][5]:
        keypoint[:2] = None, None
    for keypoint in inputs[0][9]:
        keypoint[2] = 0
    answer = post({"inputs": inputs, "params": {"skeleton": "coco17"}})
    assert answer.status_code == 200, answer.text
    assert np.isfinite(answer.json()["predictions"]).all()
    without = [[[keypoint[:2] for keypoint in frame] for frame in inputs[0]]]
    assert post({"inputs": without, "params": {"skeleton": "coco17"}}).status_code == 200


def test_wrong_keypoints_are_a_400(post):
    inputs = keypoints()
    for skeleton, message in (("coco", "coco17, coco18"), ("body25", "expected (tracks, frames, 25, 3)")):
        assert_400(post({"inputs": inputs.tolist(), "params": {"skeleton": skeleton}}), message)
    assert_400(post({"inputs": inputs.tolist(), "params": {"skeleton": "coco17", "height": 17.0}}), "height")
    far = inputs.copy()
    far[0, 3, 4, 0] = 1e7
    assert_400(
        post({"inputs": far.tolist(), "params": {"skeleton": "coco17"}}), "track 0, frame 3, keypoint 4: x is 1e+07"
    )
    assert_400(post({"inputs": inputs.tolist()}), "parameter skeleton")


@pytest.mark.parametrize("fps", [-30.0, 1e9, float("nan"), float("inf")])
def test_an_impossible_frame_rate_is_a_400(post, fps):
    params = {"skeleton": "coco17", "fps": fps}
    assert_400(post({"inputs": keypoints().tolist(), "params": params}), "fps: ", "at most 1000")


def test_a_very_low_frame_rate_is_accepted(post):
    params = {"skeleton": "coco17", "fps": 1 / 3600}
    assert post({"inputs": keypoints(40).tolist(), "params": params}).status_code == 200


@pytest.mark.parametrize("side", ["image_width", "image_height"])
def test_an_impossible_image_size_is_a_400(post, side):
    for length in (-5, 10**9):
        params = {"skeleton": "coco17", side: length}
        assert_400(
            post({"inputs": keypoints().tolist(), "params": params}),
            f"{side}: must be above 0",
            f"got {length}",
        )


def test_a_track_without_visible_keypoints_or_body_is_a_400(post):
    inputs = keypoints()
    empty = [[[[None, None, 0]] * 17] * 40]
    assert_400(
        post({"inputs": inputs.tolist() + empty, "params": {"skeleton": "coco17"}}), "track 1: no keypoint is visible"
    )
    point = np.ones_like(inputs) * [100, 100, 1]
    params = {"skeleton": "coco17", "root": True}
    assert_400(post({"inputs": point.tolist(), "params": params}), "track 0: cannot be lifted")


def test_too_many_poses_or_tracks_are_a_400(post, registered):
    params = {"skeleton": "coco17"}
    tracks = np.zeros((MAX_TRACKS + 1, 1, 17, 3), int)
    assert_400(post({"inputs": tracks.tolist(), "params": params}), f"{MAX_TRACKS + 1} tracks", f"at most {MAX_TRACKS}")
    for count, frames, given in ((MAX_POSES // WINDOW + 1, WINDOW, {}), (1, MAX_POSES + 1, params)):  # slow as JSON
        message = f"{count * frames:,} poses; a request has at most {MAX_POSES:,}: send several requests"
        with pytest.raises(MlflowException, match=message) as refused:
            registered.predict(np.zeros((count, frames, 17, 3), np.float32), given)
        assert refused.value.get_http_status_code() == 400


def test_a_large_body_is_refused_before_the_model_server_reads_it(post, monkeypatch):
    monkeypatch.setattr(scoring_server, "invocations", lambda *_: pytest.fail("the body was parsed"))
    chunks = (b" " * 2**20 for _ in range(MAX_BODY // 2**20 + 1))  # sent without a Content-Length
    for large in (chunks, "[" * (MAX_BODY + 1)):
        answer = post(large)
        assert answer.status_code == 413
        assert f"at most {MAX_BODY:,} bytes" in answer.text


def assert_400(answer, *parts: str) -> None:
    assert answer.status_code == 400, answer.text
    for part in parts:
        assert part in answer.json()["message"]


def test_the_lifter_of_the_package_is_served_without_a_registry(tmp_path):
    windows = poses(2, 27, 17, 3)
    served = load_model(tmp_path / "store", "shipped")[1].predict(windows)
    with torch.inference_mode():
        expected = load_lifter(resolve_checkpoint(tmp_path, "shipped"))(torch.from_numpy(windows))
    np.testing.assert_allclose(served, expected, atol=1e-5)
    assert not (tmp_path / "store").exists()
