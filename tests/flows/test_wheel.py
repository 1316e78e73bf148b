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
    return f"from flows.cli import main\nsys.argv = {['uplift', *words]!r}\nmain()\n"


def test_lifts_without_extras(installed, tmp_path):
    ended = run_without_extras(installed, tmp_path, uplift("lift", str(EXAMPLE), "--export", "bvh,gif"))
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "lifted/walking/person-0/motion.bvh").is_file()
    assert (tmp_path / "lifted/walking/playing.html").is_file()


def test_lifts_in_python_without_extras(installed, tmp_path):
    code = f"""
import pose_uplift
assert pose_uplift.__file__.startswith({str(installed)!r})
(motion,) = pose_uplift.lift_file({str(EXAMPLE)!r}, fps=30)
motion.save("walk.bvh")
motion.plot().savefig("walk.png")
"""
    ended = run_without_extras(installed, tmp_path, code)
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "walk.bvh").is_file()


@pytest.mark.parametrize("words", [["pipeline"], ["ingest", "x.npy"], ["promote"], ["up"]])
def test_command_that_needs_the_extra_names_it(installed, tmp_path, words):
    (tmp_path / "x.npy").touch()
    ended = run_without_extras(installed, tmp_path, uplift(*words))
    assert ended.returncode == 2
    assert "pip install 'pose-uplift[pipeline]'" in ended.stderr.splitlines()[-1]


def test_registry_that_cannot_be_asked_is_an_error(installed, tmp_path):
    call = uplift("lift", str(EXAMPLE))
    ended = run_without_extras(installed, tmp_path, call, MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    assert ended.returncode == 2
    assert "or pass --model shipped" in ended.stderr


def test_runs_the_pipeline(installed, tmp_path):  # on the Prefect server of the tests
    sets = [word for setting in TINY for word in ("--set", setting)]
    ended = run(installed, tmp_path, [sys.executable, "-m", "flows.cli", "pipeline", *sets])
    assert ended.returncode == 0, ended.stderr
    assert "registered pose-uplift version 1" in ended.stdout
    assert list((tmp_path / "store").rglob("*.html"))
    assert (installed / "flows/deployment/prefect.yaml").read_text() == (ROOT / "prefect.yaml").read_text()
