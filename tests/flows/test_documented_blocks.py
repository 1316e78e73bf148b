"""The code blocks of the quick start and of the tutorials run in order as they are written, on little motion.

- A command `uplift` runs in this process; other lines run in one bash per page, with the project's Makefile.
- `pipeline` and `promote` get the small sizes of `SMALL` before their own options.
- Words in capitals are replaced by files, and ports by free ports.
- Blocks of the language text are commands of other projects. `NOT_RUN` names the other blocks that are not run.
"""

import csv
import json
import os
import pickle
import re
import shlex
import shutil
import signal
import subprocess
import sys
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest

from flows.cli import main
from tasks.synthetic.motion import CLIP_LIST_COLUMNS, generate
from tests.ports import free_port
from tests.servers import guarded, serving

ROOT = Path(__file__).parents[2]
NOT_RUN = {
    "make mediapipe": "installs MediaPipe in an environment of its own, for a video of the user",
    ".venv/bin/uplift ingest AMASS_DIR": "needs AMASS and body models, which have licences; see test_ingest_amass.py",
    ".venv/bin/uplift benchmark import": "needs files of Human3.6M, which have a licence; see tests/tasks/benchmarks",
}
SMALL = [
    *("synthetic.people=8", "synthetic.seconds=1.5", "ingest.min_frames=10", "convert.views=1"),
    *("pretrain.network.stem_width=128", "pretrain.batch_size=8", "finetune.batch_size=8"),
    *("baselines.mlp.minutes=0.02", "evaluate.robustness_windows=8"),
    "promote.confidence=0.6",  # two test subjects
]
FILES = {
    "KEYPOINTS": lambda: "examples/walking.json",
    "CLIPS": lambda: next(folder.name for folder in Path("store/clips").iterdir() if folder.name[0] != "."),
}
ENDED = "status of this line:"


class Terminal:
    """Runs the blocks of a page in a folder that looks like a clone."""

    def __init__(self, folder: Path, database: Path, monkeypatch: pytest.MonkeyPatch, bash: subprocess.Popen) -> None:
        self.folder, self.database, self.monkeypatch, self.bash = folder, database, monkeypatch, bash
        self.sizes = SMALL
        self.run('curl() { command curl --fail "$@"; }')

    def clone(self) -> None:
        """Make a clone with the environment of the tests, and with the stages that the store of this folder has."""
        clone = self.folder / f"clone{len(list(self.folder.glob('clone*')))}"
        (clone / ".venv").mkdir(parents=True)
        if Path("store").is_dir():
            shutil.copytree("store", clone / "store", ignore=shutil.ignore_patterns("mlflow.db*", "mlartifacts"))
        (clone / "store").mkdir(exist_ok=True)
        shutil.copy(self.database, clone / "store")
        for name in ("examples", "docs", "Makefile", "pyproject.toml", "constraints.txt"):
            (clone / name).symlink_to(ROOT / name)
        (clone / ".venv" / "bin").symlink_to(Path(sys.executable).parent)
        (clone / ".venv" / "installed").touch()  # newer than the files above, so `make install` has nothing to do
        self.monkeypatch.chdir(clone)
        self.run(f"cd {shlex.quote(str(clone))}")

    def page(self, name: str, names: dict[str, Any], **replaced: str) -> None:
        """Run the blocks of a page; Python has the variables `names`, and `replaced` are texts of the page."""
        text = (ROOT / "docs" / name).read_text(encoding="utf-8").replace("/tmp/", f"{self.folder}/")
        for old, new in replaced.items():
            text = text.replace(old.removeprefix("port_"), new)
        for prose, language, block in re.findall(r"(.*?)^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            if "In a new clone" in prose:
                self.clone()
            if language == "python":
                os.environ.pop("MLFLOW_REGISTRY_URI", None)  # another Python, which has no connection yet
                mlflow.set_registry_uri("")
                exec(compile(block, name, "exec"), names)
            elif language == "" and not block.startswith((*NOT_RUN,)):
                for line in block.splitlines():
                    self.run(line)

    def run(self, line: str) -> None:
        """Run one line of a block, and fail if it fails."""
        for word, file in FILES.items():
            line = re.sub(rf"\b{word}\b", lambda _, file=file: file(), line)
        words = shlex.split(line, comments=True)
        if line == "make demo":
            self.run(re.search(r"^demo:.*\n\t\$\(BIN\)/(.*)", Path("Makefile").read_text(), re.MULTILINE)[1])
        elif words[0] in ("uplift", ".venv/bin/uplift") and words[-1] != "&":
            self._uplift(words[1:])
        elif words[:2] == ["mlflow", "server"]:
            self._mlflow_server(line, int(words[-1]))
        else:
            print(line, f"printf '\\n{ENDED} %s\\n' $?", sep="\n", file=self.bash.stdin, flush=True)
            output = []
            while not (output and output[-1].startswith(ENDED)):
                output.append(self.bash.stdout.readline())
                assert output[-1], output  # bash has ended
            assert output[-1].split()[-1] == "0", "".join([f"{line}\n", *output])

    def _uplift(self, words: list[str]) -> None:
        os.environ.pop("MLFLOW_TRACKING_URI", None)  # MLflow wrote it in this process, not in a terminal
        sizes = [word for size in self.sizes for word in ("--set", size)] if words[0] in ("pipeline", "promote") else []
        self.monkeypatch.setattr(sys, "argv", ["uplift", words[0], *sizes, *words[1:]])
        with pytest.raises(SystemExit) as end:
            main()
        assert not end.value.code, words

    def _mlflow_server(self, line: str, port: int) -> None:
        """Start the server, and read the saved view to which the page has a link."""
        command = ["bash", "-c", f"exec {Path(sys.executable).parent}/{line}"]
        log, environment = self.folder / "mlflow.log", os.environ | {"MLFLOW_WORKERS": "1"}
        with serving(command, port, "/health", log, environment) as url:
            answer = urllib.request.urlopen(f"{url}/api/2.0/mlflow/experiments/get?experiment_id=1").read()
        tags = [tag["key"] for tag in json.loads(answer)["experiment"]["tags"]]
        assert "mlflow.sharedViewState.pipeline-runs" in tags


@pytest.fixture
def terminal(tmp_path, mlflow_database, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.chdir(tmp_path)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    bash = subprocess.Popen(["bash"], text=True, start_new_session=True, **pipes)
    with bash, guarded(bash.pid):
        terminal = Terminal(tmp_path, mlflow_database, monkeypatch, bash)
        terminal.clone()
        yield terminal
        with suppress(ProcessLookupError):
            os.killpg(bash.pid, signal.SIGKILL)


def test_quick_start(terminal):
    terminal.sizes = [*SMALL, "pretrain.max_epochs=10", "finetune.max_epochs=3"]
    walk = np.random.default_rng(0).uniform(0, 500, (1, 40, 17, 3)).astype(np.float32)
    windows = np.zeros((2, 27, 17, 3), np.float32)
    names = {"windows": windows, "keypoints": np.where([True, True, False], walk, 1).astype(np.float32)}
    terminal.page("quickstart.md", names, port_5000=str(free_port()), port_5001=str(free_port()))
    assert (terminal.folder / "clone0" / "walk.bvh").is_file()
    assert names["poses"].shape == windows.shape
    assert names["motion"].shape == (1, 40, 17, 3)


def test_tutorial_of_keypoints(terminal):
    port = free_port()
    command = [sys.executable, "-m", "flows.cli", "serve", "shipped", "--port", str(port)]
    names = {"frame": np.ones((17, 3))}
    with serving(command, port, "/ping", terminal.folder / "served.log", os.environ | {"PYTHONPATH": str(ROOT)}):
        terminal.page("keypoints.md", names, port_5001=str(port))
    assert Path("lifted/walking/person-0/motion.csv").is_file()
    assert names["pose"].shape == (17, 3)


def test_tutorial_of_motion(terminal):
    terminal.sizes = [*SMALL, "pretrain.max_epochs=1", "finetune.max_epochs=1"]
    clips, rows = generate(people=8, seconds=1.2)
    people = ["CMU_S1", "CMU_S2", "CMU_S3", "CMU_S4", "HumanEva_S8", "HDM05_S7", "SSM_S9", "SSM_S11"]
    for row in rows:
        name = people[int(row["subject"].removeprefix("synthetic_s"))]
        row.update(fname=f"{name}_{row['action']}", subject=name.partition("_")[2])
    Path("amass_joints_h36m_60.pkl").write_bytes(pickle.dumps(clips, protocol=4))
    with Path("clip_list.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, CLIP_LIST_COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    terminal.page("motion.md", {})
    assert len([folder for folder in Path("store/windows").iterdir() if folder.name[0] != "."]) == 4


def test_blocks_that_are_not_run_are_on_the_pages():
    pages = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs").glob("*.md"))
    assert all(f"```\n{block}" in pages for block in NOT_RUN)
