"""The wheel outside the repository: lifting without the packages of the extras, and the pipeline with them."""

import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import distribution, packages_distributions, requires
from pathlib import Path

import pytest

from tests.flows.conftest import TINY

ROOT = Path(__file__).parents[2]
SOURCES = ("pose_uplift", "flows", "tasks", "model", "data_contracts", "presets")
FILES = ("pyproject.toml", "README.md", "LICENSE", "prefect.yaml")
EXAMPLE = ROOT / "examples" / "walking.json"
WITHOUT_EXTRAS = """
import sys
from importlib.machinery import PathFinder

class OfBase(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in ABSENT else super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = OfBase
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Folder into which pip installed the wheel without its dependencies."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        shutil.copytree(ROOT / name, folder / "source" / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copy(ROOT / name, folder / "source" / name)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    build = ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(folder / "source")]
    subprocess.run([*pip, *build], check=True)
    (wheel,) = folder.glob("*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", str(folder / "site"), str(wheel)], check=True)
    return folder / "site"


def base_distributions():
    """Return the names of the distributions that the wheel requires without an extra, directly or not."""
    found, waiting = set(), ["pose-uplift"]
    while waiting:
        name = waiting.pop()
        for requirement in requires(name) or []:
            wanted, _, marker = requirement.partition(";")
            needed = re.split(r"[\s<>=!~\[(]", wanted.strip())[0].lower().replace("_", "-")
            if "extra ==" not in marker and needed not in found and is_installed(needed):
                found.add(needed)
                waiting.append(needed)
    return found


def is_installed(name):
    try:
        return bool(distribution(name))
    except ModuleNotFoundError:
        return False


def run_without_extras(installed, tmp_path, code, **environment):
    """Run Python code with the installed wheel, in which only the required distributions can be imported."""
    base = base_distributions()
    of_wheel = {path.name for path in installed.iterdir()}
    absent = {
        module
        for module, names in packages_distributions().items()
        if module not in of_wheel and not base & {name.lower().replace("_", "-") for name in names}
    }
    assert {"mlflow", "prefect", "lightning_fabric", "dask", "hypothesis"} <= absent
    assert not {"torch", "numpy", "pandera", "typer"} & absent
    script = f"ABSENT = {sorted(absent)!r}{WITHOUT_EXTRAS}{code}"
    return run(installed, tmp_path, [sys.executable, "-c", script], **environment)


def run(installed, tmp_path, command, **environment):
    variables = os.environ | {"PYTHONPATH": str(installed), "MPLBACKEND": "agg"}
    variables.pop("MLFLOW_TRACKING_URI", None)
    return subprocess.run(command, cwd=tmp_path, env=variables | environment, capture_output=True, text=True)


def uplift(*words):
    """Return code that runs a command and prints its exit code and last error."""
    return f"""
import contextlib, io
from flows.cli import main
sys.argv, errors = {["uplift", *words]!r}, io.StringIO()
try:
    with contextlib.redirect_stderr(errors):
        main()
except SystemExit as end:
    print("ended", end.code, *errors.getvalue().splitlines()[-1:])
"""


def test_lifts_without_extras(installed, tmp_path):
    code = f"""{uplift("lift", str(EXAMPLE), "--export", "bvh,gif")}
import pose_uplift
assert pose_uplift.__file__.startswith({str(installed)!r})
(motion,) = pose_uplift.lift_file({str(EXAMPLE)!r}, fps=30)
motion.save("walk.bvh")
motion.plot().savefig("walk.png")
"""
    ended = run_without_extras(installed, tmp_path, code)
    assert ended.returncode == 0, ended.stderr
    assert "ended 0" in ended.stdout
    assert (tmp_path / "lifted/walking/person-0/motion.bvh").is_file()
    assert (tmp_path / "lifted/walking/playing.html").is_file()
    assert (tmp_path / "walk.bvh").is_file()


def test_commands_that_need_the_extra_name_it(installed, tmp_path):
    (tmp_path / "x.npy").touch()
    commands = (["pipeline"], ["ingest", "x.npy"], ["promote"], ["up"], ["lift", str(EXAMPLE)])
    code = "".join(uplift(*words) for words in commands)
    ended = run_without_extras(installed, tmp_path, code, MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    *lines, lift = [line for line in ended.stdout.splitlines() if line.startswith("ended 2 ")]
    assert [line.count("pip install 'pose-uplift[pipeline]'") for line in lines] == [1] * 4, ended.stderr
    assert "or pass --model shipped" in lift


def test_runs_the_pipeline(installed, empty_store, tmp_path):  # on the Prefect server of the tests
    sets = [word for setting in TINY for word in ("--set", setting)]
    ended = run(installed, tmp_path, [sys.executable, "-m", "flows.cli", "pipeline", *sets])
    assert ended.returncode == 0, ended.stderr
    assert "registered pose-uplift version 1" in ended.stdout
    assert list(empty_store.rglob("*.html"))
    assert (installed / "flows/deployment/prefect.yaml").read_text() == (ROOT / "prefect.yaml").read_text()
