"""The server follows an alias without dropping requests, names its version, and lifts keypoint files."""

import io
import json
import tracemalloc
from pathlib import Path

import mlflow
import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient

from data_contracts.parameters import NetworkConfig, SyntheticParameters
from data_contracts.store.digests import StageKey
from model.network.network import PoseNetwork
from model.training.checkpoints import save_network
from tasks.serving import server as module
from tasks.serving.server import ModelServer, follow_once, load_model
from tasks.tracking.registry import register_challenger
from tasks.tracking.runs import track_pipeline

CHALLENGER = "models:/pose-uplift@challenger"
EXAMPLE = Path(__file__).parents[3] / "examples" / "walking.json"


def zipped(keypoints):
    file = io.BytesIO()
    np.savez_compressed(file, keypoints=keypoints)
    return file.getvalue()


def many_people():
    """Return 201 tracks: ten frames of the example again and again, each time with another id."""
    entries = json.loads(EXAMPLE.read_text())[:10]
    frames = [(10 * person + at, person, entry) for person in range(201) for at, entry in enumerate(entries)]
    return json.dumps([dict(entry, image_id=f"{at}.jpg", idx=person) for at, person, entry in frames]).encode()


@pytest.fixture
def register(empty_store, tmp_path, monkeypatch):
    """Return a function that registers a new version with random weights as @challenger."""
    monkeypatch.setenv("_MLFLOW_IS_IN_SERVING_ENVIRONMENT", "true")  # the server sets it permanently
    config = NetworkConfig(embed_dim=8, heads=2, fusion_depth=1, max_frames=9)

    def register(seed):
        torch.manual_seed(seed)
        network = PoseNetwork(config).eval()
        for weights in network.head.parameters():  # the head is initialised to zero
            torch.nn.init.normal_(weights, std=0.1)
        save_network(tmp_path / f"{seed}.safetensors", network, {})
        key = StageKey("pipelines", "pipeline", SyntheticParameters(seed=seed), {})
        with track_pipeline(empty_store, key) as tracked:
            return register_challenger(tracked, tmp_path / f"{seed}.safetensors", "a digest", {}, flip=True)

    return register


def windows():
    return {"inputs": np.random.default_rng(0).uniform(-1, 1, (1, 9, 17, 3)).tolist()}


def test_new_requests_get_the_new_version_when_the_alias_moves(register, empty_store):
    register(1)
    server = ModelServer(*load_model(empty_store, CHALLENGER))
    client = TestClient(server)
    first = client.post("/invocations", json=windows())
    assert first.headers["x-model-version"] == client.get("/version").json()["model"] == "models:/pose-uplift/1"
    follow_once(server, empty_store, CHALLENGER)
    assert server.uri == "models:/pose-uplift/1"
    register(2)
    follow_once(server, empty_store, CHALLENGER)
    second = client.post("/invocations", json=windows())
    assert second.headers["x-model-version"] == client.get("/version").json()["model"] == "models:/pose-uplift/2"
    assert not np.allclose(first.json()["predictions"], second.json()["predictions"])


def test_a_request_ends_with_the_version_with_which_it_began(register, empty_store, monkeypatch):
    register(1)
    server = ModelServer(*load_model(empty_store, CHALLENGER))
    expected = TestClient(server).post("/invocations", json=windows()).json()["predictions"]
    register(2)
    invocations = module.scoring_server.invocations

    def exchange_first(*arguments):
        follow_once(server, empty_store, CHALLENGER)
        return invocations(*arguments)

    monkeypatch.setattr(module.scoring_server, "invocations", exchange_first)
    answer = TestClient(server).post("/invocations", json=windows())
    assert server.uri == "models:/pose-uplift/2"
    assert answer.headers["x-model-version"] == "models:/pose-uplift/1"
    np.testing.assert_allclose(answer.json()["predictions"], expected, atol=1e-6)


def test_a_registry_that_does_not_answer_changes_nothing(register, empty_store, caplog):
    register(1)
    server = ModelServer(*load_model(empty_store, CHALLENGER))
    mlflow.MlflowClient().delete_registered_model_alias("pose-uplift", "challenger")
    follow_once(server, empty_store, CHALLENGER)
    assert "cannot be read or loaded" in caplog.text
    assert TestClient(server).post("/invocations", json=windows()).headers["x-model-version"].endswith("/1")


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    return TestClient(ModelServer(*load_model(tmp_path_factory.mktemp("store"), "shipped")))


def test_a_keypoint_file_is_lifted(shipped):
    answer = shipped.post("/lift", params={"fps": 30, "height": 1.75}, content=EXAMPLE.read_bytes())
    assert answer.status_code == 200, answer.text
    found = answer.json()
    (person,) = found["people"]
    joints = np.array(person["joints"])
    assert joints.shape == (150, 17, 3)
    assert (found["skeleton"], person["fps"], found["model"]) == ("coco17", 30, "shipped")
    assert joints[:, found["joints"].index("pelvis"), 2].mean() == pytest.approx(0.95, abs=0.1)


@pytest.mark.parametrize(
    ("body", "query", "reason"),
    [
        (b"", {}, "the body"),
        (b"no keypoints", {}, "the body"),
        (json.dumps([{"keypoints": [1, 2]}]).encode(), {}, "the body"),
        (EXAMPLE.read_bytes(), {"fps": "fast"}, "fps"),
        (EXAMPLE.read_bytes(), {"height": "tall"}, "height is 'tall'"),
        (EXAMPLE.read_bytes(), {"height": "17"}, "height"),
        (EXAMPLE.read_bytes(), {"person": "1"}, "unknown parameter 'person'"),
        (zipped(np.zeros((50, 17, 3))), {}, "the body is an .npz"),
        (many_people(), {"skeleton": "coco17"}, "at most 200 tracks"),
    ],
)
def test_wrong_requests_are_a_400_with_the_reason(shipped, body, query, reason):
    answer = shipped.post("/lift", params=query, content=body)
    assert answer.status_code == 400
    assert reason in answer.text
    assert "/tmp" not in answer.text


def test_a_body_with_too_many_poses_is_refused_before_the_work_that_grows_with_them(shipped):
    file = io.BytesIO()
    np.save(file, np.tile(np.arange(1, 52, dtype=np.int8).reshape(17, 3), (60_000, 1, 1)))  # 3 MB
    tracemalloc.start()
    answer = shipped.post("/lift", params={"skeleton": "coco17"}, content=file.getvalue())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert answer.status_code == 400
    assert "the body: has 60,000 poses, at most 50,000 are allowed" in answer.text
    assert peak < 20 * len(file.getvalue())
