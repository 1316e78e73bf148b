"""Every folder of code is a package, because import-linter does not see modules in other folders."""

from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_every_folder_of_code_has_an_init_file():
    packages = ("pose_uplift", "flows", "tasks", "model", "data_contracts")
    folders = {file.parent for package in packages for file in (ROOT / package).rglob("*.py")}
    assert [str(folder) for folder in sorted(folders) if not (folder / "__init__.py").is_file()] == []
