"""`uplift lift` writes a folder of motion per person, with a checkpoint or a registered version."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from data_contracts.errors import InputError
from data_contracts.motion.motion import read_motion
from data_contracts.parameters import ExportFormat, LiftParameters, NetworkConfig, SyntheticParameters
from data_contracts.store.checking import check_folder
from data_contracts.store.digests import StageKey, file_digest
from data_contracts.store.folders import resolve_checkpoint
from data_contracts.store.manifests import read_manifest
from flows.cli import main
from flows.lifting import name_of
from model.network.network import PoseNetwork
from model.training.checkpoints import save_network
from tasks.tracking.names import MODEL_NAME
from tasks.tracking.registry import register_challenger
from tasks.tracking.runs import connect, find_runs, track_pipeline
from tests.flows.typed import keypoints, lift
from tests.tasks.lifting.formats.writing import alphapose, body, seen_by, triples

WINDOW = 9
CHAMPION = "models:/pose-uplift@champion"


@pytest.fixture
def checkpoint(tmp_path):
    torch.manual_seed(0)
    network = PoseNetwork(NetworkConfig(embed_dim=8, heads=2, fusion_depth=1, max_frames=WINDOW)).eval()
    torch.nn.init.normal_(network.head.joints.weight, std=0.3)
    path = tmp_path / "model.safetensors"
    save_network(path, network, {"window": WINDOW, "fps": 60.0})
    return path


def person(at, frames=30):
    return triples(seen_by("coco17", body(frames, at)))


@pytest.fixture
def detected(tmp_path):
    """Write an AlphaPose file of two people with 30 frames."""
    path = tmp_path / "walk.json"
    path.write_text(json.dumps(alphapose([person((300.0, 400.0)), person((900.0, 420.0))], people=[1, 2])))
    return path


@pytest.fixture
def lifted(checkpoint, detected, empty_store, tmp_path):
    def run(source=detected, out=tmp_path / "out", **changes):
        return lift(str(source), str(checkpoint), out=str(out), store=str(empty_store), **changes)

    return run


@pytest.fixture
def command(empty_store, tmp_path, monkeypatch, capsys):
    """Run `uplift lift` in an empty folder; return its exit code and its output."""

    def run(*arguments, store=empty_store):
        monkeypatch.chdir(tmp_path)
        words = ["uplift", "lift", *map(str, arguments), "--store", str(store), "--out", "out"]
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as end:
            main()
        return end.value.code or 0, capsys.readouterr()

    return run


@pytest.fixture
def version(checkpoint, empty_store):
    """Register the checkpoint, evaluated without flip averaging, as challenger."""
    with track_pipeline(empty_store, StageKey("pipelines", "pipeline", SyntheticParameters(), {})) as tracked:
        return register_challenger(tracked, checkpoint, "a digest", {}, flip=False)


def test_every_person_gets_a_folder_with_motion_and_exports(lifted, tmp_path):
    formats = [form for form in ExportFormat if form is not ExportFormat.GIF]
    outcome = lifted(export=formats, parameters=LiftParameters(height=1.8))
    (file,) = outcome["files"]
    assert [(one["name"], one["frames"]) for one in file["people"]] == [("person-0", 30), ("person-1", 30)]
    for number in range(2):
        folder = tmp_path / "out" / f"person-{number}"
        assert sorted(path.name for path in folder.iterdir()) == sorted(f"motion.{form}" for form in formats)
        motion = read_motion(folder / "motion.npz")
        assert motion.about["scale"]["stature_m"] == pytest.approx(1.8)
        assert motion.person == number + 1
    assert (tmp_path / "out" / "playing.html").is_file()
    check_folder(Path(file["lifted"]))


def test_a_second_lift_of_the_same_keypoints_is_cached_and_written_again(lifted, tmp_path):
    first = lifted()
    again = lifted(out=tmp_path / "again", export=[ExportFormat.CSV])
    assert not first["files"][0]["cached"]
    assert again["files"][0]["cached"]
    assert (tmp_path / "again" / "person-1" / "motion.csv").is_file()
    assert not lifted(parameters=LiftParameters(height=1.5))["files"][0]["cached"]


def test_a_keypoints_stage_is_lifted_by_path_digest_and_short_digest(lifted, detected, empty_store, tmp_path):
    folder = Path(keypoints(str(detected), store=str(empty_store)).folder)
    for number, source in enumerate((folder, folder.name, folder.name[:6])):
        (file,) = lifted(source, tmp_path / str(number))["files"]
        assert len(file["people"]) == 2
    (folder / "keypoints.parquet").write_bytes((folder / "keypoints.parquet").read_bytes()[:200])
    with pytest.raises(InputError, match=r"keypoints\.parquet: its SHA-256 .* run `uplift keypoints SOURCE` again"):
        lifted(folder, parameters=LiftParameters(height=1.61))


def test_a_second_lifting_replaces_the_first_and_nothing_else(lifted, tmp_path):
    lifted()
    lifted(parameters=LiftParameters(person="0"))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["person-0", "playing.html"]
    (tmp_path / "out" / "thesis.tex").write_text("")
    with pytest.raises(InputError, match=r"out: contains files that lifting did not write \(thesis\.tex\)"):
        lifted()
    assert (tmp_path / "out" / "person-0" / "motion.npz").is_file()


@pytest.mark.parametrize(("person_", "names"), [("longest", [1]), ("largest", [1]), ("1", [2])])
def test_tracks_are_selected_by_length_size_or_number(lifted, detected, person_, names, tmp_path):
    big = 2 * (person((300.0, 400.0), 40) - (300, 400, 0)) + (300, 400, 0)
    big[..., 2] = 0.9
    entries = alphapose([big], people=[1]) + alphapose([person((900.0, 420.0))], people=[2])
    detected.write_text(json.dumps(entries))
    outcome = lifted(parameters=LiftParameters(person=person_))
    (one,) = outcome["files"][0]["people"]
    assert [read_motion(tmp_path / "out" / one["name"] / "motion.npz").person] == names


def test_each_file_of_a_folder_gets_a_folder_and_failed_files_are_named(lifted, detected, tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "good.json").write_bytes(detected.read_bytes())
    np.save(folder / "also.npy", person((200.0, 300.0)))
    (folder / "bad.json").write_text("[1, 2")
    (folder / "notes.txt").write_text("not read")
    state = lifted(folder, return_state=True)
    outcome = state.result()
    assert [file["name"] for file in outcome["files"]] == ["also", "good"]
    assert "bad.json: is not valid JSON" in outcome["failed"]["bad"]
    assert "1 not lifted: bad" in state.message
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["also", "good"]
    assert (tmp_path / "out" / "good" / "person-1" / "motion.npz").is_file()


@pytest.mark.parametrize(
    ("source", "name"),
    [("a/walk.1.json", "walk.1"), ("a/take.1", "take.1"), ("a/take.1/..", "a"), (".", "here"), ("1a2b", "1a2b")],
)
def test_the_output_folder_has_the_name_of_the_source(source, name, tmp_path, monkeypatch):
    (tmp_path / "here" / "a" / "take.1").mkdir(parents=True)
    (tmp_path / "here" / "a" / "walk.1.json").write_text("")
    monkeypatch.chdir(tmp_path / "here")
    assert name_of(source) == name


def test_a_version_lifts_as_it_was_evaluated_and_its_run_is_linked(version, detected, empty_store, tmp_path, command):
    code, printed = command(detected, "--model", "models:/pose-uplift@challenger", "--json")
    assert code == 0
    outcome = json.loads(printed.out.strip().splitlines()[-1])
    assert outcome["model"] == "models:/pose-uplift/1"
    manifest = read_manifest(Path(outcome["files"][0]["lifted"]))
    assert manifest["parameters"]["flip"] is False
    client = connect(empty_store)
    (run,) = find_runs(client, manifest["digest"])
    assert run.info.status == "FINISHED"
    assert run.data.metrics["people"] == 2
    linked = client.get_run(run.info.run_id).inputs.model_inputs
    assert [one.model_id for one in linked] == [version.source.rpartition("/")[2]]
    assert "playing.html" in [file.path for file in client.list_artifacts(run.info.run_id)]


def test_without_a_model_the_lifter_of_the_package_lifts(detected, empty_store, command):
    before = (empty_store / "mlflow.db").read_bytes()
    code, said = command(detected)
    assert code == 0
    assert "model: shipped (the lifter of this package, because the registry has no champion)" in said.out
    assert (empty_store / "mlflow.db").read_bytes() == before
    (lifted,) = (empty_store / "motions").glob("[!.]*")
    weights = file_digest(resolve_checkpoint(empty_store, "shipped"))
    assert read_manifest(lifted)["inputs"]["checkpoint"] == weights


def test_without_a_model_the_champion_lifts_if_there_is_one(version, detected, empty_store, command):
    connect(empty_store).set_registered_model_alias(MODEL_NAME, "champion", version.version)
    assert "model: models:/pose-uplift/1 (the champion); pass --model" in command(detected)[1].out
    _, said = command(detected, "--model", "shipped")
    assert "model:" not in said.out
    assert "lifted by shipped" in said.out


def test_a_registry_that_does_not_answer_is_an_error_and_not_a_missing_champion(
    detected, empty_store, tmp_path, monkeypatch, command
):
    (empty_store / "mlflow.db").write_bytes(b"not a database")
    code, said = command(detected)
    assert code == 2
    assert "mlflow.db: the database is damaged" in said.err
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/absent.db")
    code, said = command(detected, store=tmp_path / "new")
    assert code == 2
    assert "absent.db does not exist; set MLFLOW_TRACKING_URI" in said.err
    assert command(detected, "--model", "shipped", store=tmp_path / "new")[0] == 0


def test_the_command_lifts_with_a_file_without_prefect_and_mlflow(checkpoint, detected, tmp_path):
    code = """
import sys, flows.cli
for model in (["--model", "model.safetensors"], []):
    sys.argv[3:] = [*model, "--out", f"with-{len(model)}-words", "--store", "store"]
    try:
        flows.cli.main()
    except SystemExit as end:
        assert not end.code
print(sorted({"prefect", "mlflow", "lightning_fabric", "matplotlib"} & {*sys.modules}))
"""
    command = [sys.executable, "-c", code, "lift", str(detected)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True, cwd=tmp_path)
    assert done.stdout.splitlines()[-1] == "[]"
    assert all((tmp_path / f"with-{words}-words" / "person-1" / "motion.npz").is_file() for words in (2, 0))
    assert not (tmp_path / "store" / "mlflow.db").exists()


def test_the_json_output_lists_people_frames_and_folders(checkpoint, detected, command):
    code, said = command(detected, "--model", checkpoint, "--export", "json,bvh", "--height", "1.6", "--json")
    assert code == 0
    people = json.loads(said.out.strip().splitlines()[-1])["files"][0]["people"]
    assert [one["folder"] for one in people] == [str(Path("out", f"person-{n}")) for n in range(2)]
    assert people[0]["files"] == ["motion.bvh", "motion.json", "motion.npz"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--export", "fbx"], "--export fbx: unknown format; known formats: npz, json"),
        (["--height", "17"], "lift: height: Input should be less than or equal to 2.8"),
        (["--person", "me"], "pass all, longest, largest"),
        (["--person", "7"], "person 7 does not exist; the file has persons 0 to 1"),
        (["--model", CHAMPION], "pose-uplift@champion: pose-uplift has no such version"),
        (["--model", "absent"], "absent: no"),
        (["--set", "lift.bones={knee: 0.4}"], "unknown bones ['knee']"),
    ],
)
def test_a_wrong_option_is_refused_in_one_line(arguments, message, checkpoint, detected, tmp_path, command):
    code, said = command(detected, "--model", checkpoint, *arguments)
    assert code == 2
    (line,) = said.err.strip().splitlines()
    assert message in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", [None, "[1, 2", "{}", '[{"image_id": "0.jpg", "keypoints": [1, 2, "x"]}]'])
def test_a_missing_or_refused_file_is_one_line_and_writes_nothing(text, checkpoint, tmp_path, command):
    if text:
        (tmp_path / "bad.json").write_text(text)
    code, said = command("bad.json", "--model", checkpoint)
    assert code == 2
    (line,) = said.err.strip().splitlines()
    assert line == "uplift: bad.json: no such file or folder" if text is None else "bad.json" in line
    assert not (tmp_path / "out").exists()


def test_repairs_of_tracks_are_on_the_terminal(checkpoint, tmp_path, command):
    seen = person((300.0, 400.0))
    seen[12:14, :, 0] += 250
    (tmp_path / "walk.json").write_text(json.dumps(alphapose([seen], people=[1])))
    _, said = command("walk.json", "--model", checkpoint)
    assert "phantoms: in 2 frames a person jumps away and back; these frames count as missing" in said.out


def test_every_assumption_is_on_the_terminal_once(checkpoint, tmp_path, command):
    two = alphapose([person((300.0, 400.0)), person((900.0, 420.0))])
    (tmp_path / "walk.json").write_text(json.dumps(two))
    begins = ("skeleton:", "people:", "frame rate:", "image size:", "field of view:", "height:")
    for _ in range(2):  # the second time from the store
        _, said = command("walk.json", "--model", checkpoint)
        lines = [line for line in said.out.splitlines() if line.startswith(begins)]
        assert [line.partition(":")[0] + ":" for line in lines] == [*begins]
        assert "coco17 (best fit: " in lines[0]
        assert "times better than h36m17" in lines[0]
        assert "30 fps assumed; pass --fps" in lines[2]
        assert "1280 x 720 assumed" in lines[3]
    known = ("--skeleton", "coco17", "--fps", 25, "--height", 1.8)
    sets = [f"--set={text}" for text in ("keypoints.width=1280", "keypoints.height=720", "lift.fov_deg=50")]
    _, said = command("walk.json", "--model", checkpoint, *known, *sets)
    lines = [line for line in said.out.splitlines() if line.startswith(begins)]
    assert lines == [
        "skeleton: coco17 (requested)",
        "people: distinguished by pose and motion, because the file has no ids",
    ]
