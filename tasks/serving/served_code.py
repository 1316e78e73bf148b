"""The code that a served model brings along: what `served_lifter` imports of this project, as a package of its own.

A consumer may have a `model.py` of its own, and two versions with different code may be loaded into one process. So
the modules are copied below `pose_uplift_served_<digest of the code>`, and their imports of one another rewritten.
"""

import ast
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

SERVED = Path(__file__).with_name("served_lifter.py")
REQUIRES = (
    "mlflow",
    "numpy",
    "pydantic",
    "safetensors",
    "scipy",
    "torch",
)  # what the served modules import besides each other

_ROOT = Path(__file__).parents[2]
_FLOORS = ("model", "data_contracts")
_IMPORT = re.compile(rf"^(\s*from )({'|'.join(_FLOORS)})\b", re.MULTILINE)


@dataclass(frozen=True)
class ServedCode:
    """`entry`: the file that MLflow runs to load the model; `package`: the folder that it imports from."""

    entry: Path
    package: Path


def write_served_code(folder: Path) -> ServedCode:
    """Write the served model's code below an empty `folder`."""
    modules = {file.relative_to(_ROOT): file.read_text(encoding="utf-8") for file in served_modules()}
    digest = hashlib.sha256("".join(f"{file}\n{text}" for file, text in modules.items()).encode()).hexdigest()
    package = folder / f"pose_uplift_served_{digest[:8]}"

    def write(file: Path, text: str) -> Path:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(_IMPORT.sub(rf"\g<1>{package.name}.\g<2>", text), encoding="utf-8")
        return file

    for file, text in modules.items():
        write(package / file, text)
    write(package / "__init__.py", "")
    return ServedCode(write(folder / SERVED.name, SERVED.read_text(encoding="utf-8")), package)


def served_modules() -> list[Path]:
    """Files of this project that `served_lifter` imports, directly or not, and their packages' own; sorted."""
    found: set[Path] = set()
    ahead = [SERVED]
    while ahead:
        for name in imported_names(ahead.pop()):
            if name.partition(".")[0] not in _FLOORS:
                continue
            file = _ROOT.joinpath(*name.split("."))
            packages = [parent / "__init__.py" for parent in (file, *file.parents) if _ROOT in parent.parents]
            for module in (file.with_suffix(".py"), *packages):
                if module.is_file() and module not in found:
                    found.add(module)
                    ahead.append(module)
    return sorted(found)


def imported_names(file: Path) -> set[str]:
    """Dotted names that a file imports; of `from a import b` both `a` and `a.b`, which may be a module."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names
