"""MLflow's scoring server with a lifter behind it: any number of windows comes back lifted, else a 400 says why not."""

import json

import mlflow
import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from mlflow.pyfunc import scoring_server

from data_contracts.detector_skeletons import SKELETONS, Detector
from data_contracts.parameters import DSTformerConfig, LiftParameters, SyntheticParameters
from data_contracts.store.digests import StageKey
from data_contracts.tracks.track import Track
from model.lifting.lift import lift_people
from model.lifting.track_windows import Lifting
from model.network.dstformer import DSTformer
from model.network.lifting import lift
from model.training.checkpoints import save_network
from tasks.serving.served_lifter import MOST_POSES, MOST_TRACKS
from tasks.tracking.registry import register_challenger
from tasks.tracking.runs import track_pipeline
from tests.tasks.lifting.formats.writing import body, seen_by, triples

WINDOW = 9


@pytest.fixture
def network() -> DSTformer:
    torch.manual_seed(0)
    network = DSTformer(DSTformerConfig(embed_dim=8, heads=2, fusion_depth=1, max_frames=WINDOW)).eval()
    for weights in network.head.parameters():  # it begins at zero
        torch.nn.init.normal_(weights)
    return network


@pytest.fixture
def post(empty_store, network, tmp_path, monkeypatch):
    """Posts to the server of a registered version; returns the answer."""
    monkeypatch.setenv("_MLFLOW_IS_IN_SERVING_ENVIRONMENT", "true")  # the server sets it, for good
    save_network(tmp_path / "model.safetensors", network, {})
    with track_pipeline(empty_store, StageKey("pipelines", "pipeline", SyntheticParameters(), {})) as tracked:
        register_challenger(tracked, tmp_path / "model.safetensors", "a digest", WINDOW, {}, flip=True)
    client = TestClient(scoring_server.init(mlflow.pyfunc.load_model("models:/pose-uplift@challenger")))

    def send(body, kind="application/json"):
        text = body if isinstance(body, str) else json.dumps(body)
        return client.post("/invocations", content=text, headers={"content-type": kind})

    return send


def poses(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)


def test_any_number_of_windows_comes_back_lifted_as_it_was_scored(post, network):
    for count in (1, 5, 300):  # 300: more than are lifted at once
        windows = poses(count, WINDOW, 17, 3)
        answer = post({"inputs": windows.tolist()})
        assert answer.status_code == 200, answer.text
        with torch.inference_mode():
            expected = lift(network, torch.from_numpy(windows), flip=True).numpy()
        np.testing.assert_allclose(answer.json()["predictions"], expected, atol=1e-5)


def test_what_is_no_window_is_a_400_that_says_what_is_expected_and_what_came(post):
    good = poses(1, WINDOW, 17, 3)
    for shape in ((WINDOW, 17, 3), (1, 1, WINDOW, 17, 3), (1, 8, 17, 3), (1, 10, 17, 3), (1, WINDOW, 16, 3)):
        expected = f"expected shape (-1, {WINDOW}, 17, 3)" if len(shape) == 4 else "expected shape (-1, -1, -1, -1)"
        refused(post({"inputs": poses(*shape).tolist()}), str(shape), expected)
    refused(post({"inputs": poses(1, WINDOW, 17, 2).tolist()}), f"(1, {WINDOW}, 17, 2)", f"(-1, {WINDOW}, 17, 3)")
    for number, shown in ((float("nan"), "nan"), (None, "nan"), (1e300, "inf"), (640.5, "640.5")):
        windows = good.tolist()
        windows[0][3][2][1] = number
        refused(post({"inputs": windows}), f"frame 3, right_knee: y is {shown}", "mapped into [-1, 1]")
    words = good.tolist()
    words[0][3][2][1] = "a knee"
    refused(post({"inputs": words}), "a knee")
    ragged = poses(2, WINDOW, 17, 3).tolist()
    ragged[1].pop()
    refused(post({"inputs": ragged}), "inhomogeneous shape")
    for nothing in ([], [[]]):
        refused(post({"inputs": nothing}), "(-1, -1, -1, -1")
    for other in ({}, {"windows": good.tolist()}, good.tolist(), {"inputs": [], "instances": []}):
        refused(post(other), "exactly one of the input fields")
    for other in ({"pose": 1}, None, "windows"):
        refused(post({"inputs": other}), "Invalid input")
    refused(post({"dataframe_split": {"columns": ["x"], "data": [[1.0]]}}), "(-1, -1, -1, -1)")
    refused(post("{"), "valid JSON")
    refused(post("x,y\n1,2\n", "text/csv"), "Failed to parse")
    assert post({"inputs": good.tolist()}).status_code == 200  # and the server goes on


def keypoints(frames=40):
    """(1, frames, 17, 3) of COCO-17: somebody who walks, pixels and confidence."""
    return triples(seen_by(Detector.COCO17, body(frames)))[None]


def test_keypoints_of_any_length_come_back_as_motion_as_it_is_lifted_here(post, network):
    given = keypoints()
    told = {"skeleton": "coco17", "fps": 30.0, "height": 1.8, "image_width": 640, "image_height": 480}
    answer = post({"inputs": given.tolist(), "params": told})
    assert answer.status_code == 200, answer.text
    joints, confidence = SKELETONS[Detector.COCO17].to_h36m(given[0, ..., :2], given[0, ..., 2])
    pose_2d = np.concatenate([joints, confidence[..., None]], axis=-1).astype(np.float32)
    track = Track("0", -1, 0, pose_2d, np.zeros(pose_2d.shape[:2], bool), 30.0, 640, 480)
    (motion,) = lift_people(Lifting(network, WINDOW, None), [track], LiftParameters(height=1.8))
    np.testing.assert_allclose(answer.json()["predictions"], motion.pose_3d[None], atol=1e-4)
    in_world = post({"inputs": given.tolist(), "params": told | {"root": True}})
    np.testing.assert_allclose(in_world.json()["predictions"], motion.joints[None], atol=1e-3)


def test_what_was_not_seen_is_null_or_without_confidence(post):
    given = keypoints().tolist()
    for keypoint in given[0][5]:
        keypoint[:2] = None, None
    for keypoint in given[0][9]:
        keypoint[2] = 0
    answer = post({"inputs": given, "params": {"skeleton": "coco17"}})
    assert answer.status_code == 200, answer.text
    assert np.isfinite(answer.json()["predictions"]).all()
    without = [[[keypoint[:2] for keypoint in frame] for frame in given[0]]]
    assert post({"inputs": without, "params": {"skeleton": "coco17"}}).status_code == 200


def test_keypoints_that_are_none_are_a_400(post):
    given = keypoints()
    for skeleton, said in (("coco", "coco17, coco18"), ("body25", "expected (tracks, frames, 25, 3)")):
        refused(post({"inputs": given.tolist(), "params": {"skeleton": skeleton}}), said)
    refused(post({"inputs": given.tolist(), "params": {"skeleton": "coco17", "height": 17.0}}), "height")
    far = given.copy()
    far[0, 3, 4, 0] = 1e7
    refused(
        post({"inputs": far.tolist(), "params": {"skeleton": "coco17"}}), "track 0, frame 3, keypoint 4: x is 1e+07"
    )
    refused(post({"inputs": given.tolist()}), "parameter skeleton")


@pytest.mark.parametrize("fps", [-30.0, 1e9, float("nan"), float("inf")])
def test_a_rate_that_no_camera_has_is_a_400(post, fps):
    told = {"skeleton": "coco17", "fps": fps}
    refused(post({"inputs": keypoints().tolist(), "params": told}), "fps: ", "at most 1000")


def test_a_video_of_a_frame_an_hour_takes_no_more_memory_than_another(post):
    told = {"skeleton": "coco17", "fps": 1 / 3600}
    assert post({"inputs": keypoints(40).tolist(), "params": told}).status_code == 200


@pytest.mark.parametrize("side", ["image_width", "image_height"])
def test_an_image_that_no_camera_takes_is_a_400(post, side):
    for length in (-5, 10**9):
        told = {"skeleton": "coco17", side: length}
        refused(post({"inputs": keypoints().tolist(), "params": told}), f"{side}: {length}")


def test_a_track_in_which_nobody_is_seen_or_is_a_point_is_a_400_and_no_made_up_body(post):
    given = keypoints()
    nobody = [[[[None, None, 0]] * 17] * 40]
    refused(post({"inputs": given.tolist() + nobody, "params": {"skeleton": "coco17"}}), "track 1: nobody is seen")
    point = np.ones_like(given) * [100, 100, 1]
    told = {"skeleton": "coco17", "root": True}
    refused(post({"inputs": point.tolist(), "params": told}), "track 0: cannot be lifted")


def test_more_poses_or_tracks_than_a_request_may_have_are_a_400(post):
    window = json.dumps(np.zeros((WINDOW, 17, 3), int).tolist())
    count = MOST_POSES // WINDOW + 1
    body = f'{{"inputs": [{", ".join([window] * count)}]}}'
    refused(post(body), f"{count * WINDOW:,} poses", f"at most {MOST_POSES:,}", "send several requests")
    told = {"skeleton": "coco17"}
    tracks = np.zeros((MOST_TRACKS + 1, 1, 17, 3), int)
    refused(post({"inputs": tracks.tolist(), "params": told}), f"{MOST_TRACKS + 1} tracks", f"at most {MOST_TRACKS}")
    frames = np.zeros((1, MOST_POSES + 1, 17, 2), int)
    refused(post({"inputs": frames.tolist(), "params": told}), f"{MOST_POSES + 1:,} poses")


def refused(answer, *said: str) -> None:
    assert answer.status_code == 400, answer.text
    for part in said:
        assert part in answer.json()["message"]
