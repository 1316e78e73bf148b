"""Environment of every test, and inputs that tests share: real motion where it is present, else synthetic motion."""

import os
import tempfile

from tests.ports import free_port

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"
os.environ["DO_NOT_TRACK"] = "1"
os.environ["PREFECT_HOME"] = tempfile.mkdtemp(prefix="uplift-tests-")  # the user's own has profiles and a database
os.environ["PREFECT_API_URL"] = f"http://127.0.0.1:{free_port()}/api"  # Prefect reads it on import; see tests/flows
os.environ.pop("PREFECT_API_AUTH_STRING", None)

import atexit
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import numpy as np
import pandas as pd
import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest
import torch
from filelock import FileLock

from data_contracts.parameters import ConvertParameters, Projection
from data_contracts.windows import to_arrow
from model.data.loading import WindowTensors
from tasks.convert.cameras import draw_camera, window_starts
from tasks.synthetic.motion import generate
from tasks.tracking.connection import make_database
from tests.projection import ANGLES, project_windows

hypothesis.settings.register_profile("any machine", deadline=None)  # a busy one takes its time
hypothesis.settings.load_profile("any machine")
torch.set_num_threads(1)  # small tensors: more threads only wait for each other

atexit.register(shutil.rmtree, os.environ["PREFECT_HOME"], ignore_errors=True)
for name in [name for name in os.environ if name.startswith(("UPLIFT_", "MLFLOW_TRACKING_"))]:
    del os.environ[name]  # servers and settings of the user

# folders and files
LONGEST = {"deployment", "promote", "test_deployments.py", "test_documented_blocks.py", "test_job.py"}
LONGEST |= {"test_mlflow_server.py", "test_moved_store.py", "test_onnx.py", "test_resuming.py", "test_starting.py"}
LONGEST |= {"test_training.py", "test_wheel.py"}
DATA = Path(__file__).parent / "data"
SHARED = Path(__file__).parent.parent.parent / "shared"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Change the random order in two ways.

    - A test with the marker `runs_last` is the last one of its file.
    - The files that take longest are first: a worker that starts one of them at the end makes the others wait.
    """
    first_of_file: dict[Path, int] = {}
    for place, item in enumerate(items):
        first_of_file.setdefault(item.path, place)
    items.sort(
        key=lambda item: (
            LONGEST.isdisjoint(item.path.parts),
            first_of_file[item.path],
            item.get_closest_marker("runs_last") is not None,
        )
    )


@pytest.fixture(autouse=True)
def _own_environment() -> Iterator[None]:
    """Give each test the same environment variables and the same random numbers of PyTorch in any order of tests.

    MLflow writes its tracking URI into the environment, where the next test would read it as the user's choice.
    """
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    before = dict(os.environ)
    torch.manual_seed(0)
    yield
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)


@pytest.fixture(scope="session")
def reference_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with numbers of MotionBERT's own code, and its weights as a published checkpoint holds them."""
    folder = tmp_path_factory.mktemp("reference")
    for file in ("losses_small.npz", "motionbert_small.npz"):
        shutil.copy(DATA / file, folder)
    arrays = np.load(DATA / "motionbert_small.npz")
    weights = {
        f"module.{name.removeprefix('sd/')}": torch.from_numpy(arrays[name])
        for name in arrays.files
        if name.startswith("sd/")
    }
    torch.save({"epoch": 0, "lr": 0.0, "optimizer": {}, "model_pos": weights}, folder / "motionbert_small.bin")
    return folder


@pytest.fixture(scope="session")
def cmu_folder() -> Path:
    folder = SHARED / "data" / "cmu"
    if not folder.is_dir():
        pytest.skip(f"real motion is absent: no {folder}")
    return folder


@pytest.fixture(scope="session")
def walking() -> np.ndarray:
    """A clip (frames, 17, 3), world metres."""
    clips, rows = generate(seed=3, people=1, seconds=3.0)
    clip = next(clip for clip, row in zip(clips, rows, strict=True) if row["action"] == "walking")
    return clip.transpose(1, 0, 2).astype(np.float32)


@pytest.fixture(scope="session")
def databases(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """Return a folder for empty databases, to be copied. Each takes 5 s to create: all xdist workers share it."""
    folder = tmp_path_factory.getbasetemp()
    databases = (folder if worker_id == "master" else folder.parent) / "databases"
    databases.mkdir(exist_ok=True)
    return databases


@pytest.fixture(scope="session")
def mlflow_database(databases: Path) -> Path:
    database = databases / "mlflow.db"
    make_database(database)  # one process creates it, the others wait
    return database


@pytest.fixture(scope="session")
def prefect_database(databases: Path) -> Path:
    database = databases / "prefect.db"
    with FileLock(databases / "prefect.lock"):
        if not database.exists():
            upgrade = [sys.executable, "-m", "prefect", "server", "database", "upgrade", "--yes"]
            environment = os.environ | {"PREFECT_HOME": str(databases)}
            subprocess.run(upgrade, env=environment, check=True, capture_output=True)
    return database


@pytest.fixture
def new_store(mlflow_database: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Makes stores by name, in which MLflow has its database and nothing has been run."""

    def make(name: str) -> Path:
        store = tmp_path / name
        store.mkdir()
        shutil.copy(mlflow_database, store)
        return store

    return make


@pytest.fixture
def empty_store(new_store: Callable[[str], Path]) -> Path:
    """One of these."""
    return new_store("store")


@pytest.fixture
def windows(_window_arrays: dict[str, list[dict[str, np.ndarray]]]) -> tuple[WindowTensors, WindowTensors]:
    """Train and val windows of 9 frames of two groups of people, in memory; a copy of their own for every test."""
    train, val = (_tensors(_window_arrays[split]) for split in ("train", "val"))
    return train, val


@pytest.fixture
def windows_folder(_window_arrays: dict[str, list[dict[str, np.ndarray]]], tmp_path: Path) -> Path:
    """The same windows in a folder, as the convert stage writes them: two files a split, row groups of 20 windows."""
    folder = tmp_path / "windows"
    for split, clips in _window_arrays.items():
        (folder / split).mkdir(parents=True)
        for part, pieces in enumerate((clips[:3], clips[3:])):
            table = _table(split, part, pieces)
            parquet.write_table(table, folder / split / f"part-{part:05d}.parquet", row_group_size=20)
    return folder


@pytest.fixture(scope="session")
def _window_arrays() -> dict[str, list[dict[str, np.ndarray]]]:
    """Split -> the arrays of each clip, and `clip_id` and `start` of its windows."""
    clips, rows = generate(seed=5, people=4, seconds=2.0)
    arrays: dict[str, list[dict[str, np.ndarray]]] = {"train": [], "val": []}
    for clip_id, (clip, row) in enumerate(zip(clips, rows, strict=True)):
        poses = clip.transpose(1, 0, 2).astype(np.float32)
        camera = draw_camera(poses, clip_id, 0, ConvertParameters(max_pitch_deg=10, projection=Projection.ORTHOGRAPHIC))
        split = "val" if row["subject"] == rows[-1]["subject"] else "train"
        starts = window_starts(len(poses), 9, 9, True)
        of_clip = {"clip_id": np.full(len(starts), clip_id), "start": starts}
        arrays[split].append(project_windows(poses, starts, 9, camera) | of_clip)
    return arrays


def _tensors(clips: list[dict[str, np.ndarray]]) -> WindowTensors:
    arrays = _joined(clips)
    scale = torch.from_numpy(arrays["scale"])
    pose_2d = torch.from_numpy(arrays["pose_2d"])
    pose_3d = torch.from_numpy(arrays["pose_3d"]) * scale.view(-1, 1, 1, 1)
    rows = pd.DataFrame(
        {
            "window_id": [str(i) for i in range(len(scale))],
            "clip_id": arrays["clip_id"],
            "group": "g",
            "action": "walking",
            "camera": 0,
            "yaw_deg": arrays["yaw_deg"],
            "start": arrays["start"],
            "fps": 60.0,
        }
    )
    return WindowTensors(pose_2d, pose_3d, (pose_2d[..., 2] > 0).any(-1).float(), scale, rows, [len(scale)])


def _table(split: str, part: int, clips: list[dict[str, np.ndarray]]) -> arrow.Table:
    arrays = _joined(clips)
    scalars = {name: arrays.pop(name) for name in ("scale", "clip_id", "start", *ANGLES)}
    scalars |= {"group": "g", "action": "walking", "split": split, "camera": 0, "fps": 60.0}
    scalars |= {"projection": "orthographic"}
    names = [f"{part}-{i}" for i in range(len(scalars["scale"]))]
    return to_arrow(pd.DataFrame({"window_id": names, **scalars}), arrays)


def _joined(clips: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([clip[name] for clip in clips]) for name in clips[0]}
