"""MLflow's scoring server with a lifter behind it: any number of windows comes back lifted, else a 400 says why not."""

import json

import mlflow
import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from mlflow.pyfunc import scoring_server

from data_contracts.parameters import DSTformerConfig, SyntheticParameters
from data_contracts.store.digests import Identity
from model.learning.checkpoints import save_network
from model.network.dstformer import DSTformer
from model.network.lifting import lift
from tasks.mlflow_runs.registry import register_challenger
from tasks.mlflow_runs.runs import track_pipeline

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
    with track_pipeline(empty_store, Identity("pipelines", "pipeline", SyntheticParameters(), {})) as tracked:
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
        refused(post({"inputs": poses(*shape).tolist()}), str(shape), f"expected shape (-1, {WINDOW}, 17, 3)")
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
        refused(post({"inputs": nothing}), f"(-1, {WINDOW}, 17, 3)")
    for other in ({}, {"windows": good.tolist()}, good.tolist(), {"inputs": [], "instances": []}):
        refused(post(other), "exactly one of the input fields")
    for other in ({"pose": 1}, None, "windows"):
        refused(post({"inputs": other}), "Invalid input")
    refused(post({"dataframe_split": {"columns": ["x"], "data": [[1.0]]}}), f"(-1, {WINDOW}, 17, 3)")
    refused(post("{"), "valid JSON")
    refused(post("x,y\n1,2\n", "text/csv"), "Failed to parse")
    assert post({"inputs": good.tolist()}).status_code == 200  # and the server goes on


def refused(answer, *said: str) -> None:
    assert answer.status_code == 400, answer.text
    for part in said:
        assert part in answer.json()["message"]
