"""Copy the modules of this project that `served_lifter` imports into a package that is logged with the model.

- The package is named `pose_uplift_served_<digest of the code>`, and the imports between the copies are rewritten.
- Therefore a process can load two versions with different code, and may have another package named `model`.
"""

import ast
import functools
import hashlib
import re
from pathlib import Path

SERVED = Path(__file__).with_name("served_lifter.py")
REQUIRES = ("mlflow", "numpy", "pydantic", "safetensors", "scipy", "torch")  # third-party packages of the served code

_ROOT = Path(__file__).parents[2]
_LAYERS = ("model", "data_contracts")
_IMPORT = re.compile(rf"^(\s*from )({'|'.join(_LAYERS)})\b", re.MULTILINE)


def write_served_code(folder: Path) -> tuple[Path, Path]:
    """Write the code of the served model to the empty `folder`; return the file that MLflow runs, and its package."""
    modules = {file.relative_to(_ROOT): file.read_text(encoding="utf-8") for file in _served_modules()}
    digest = hashlib.sha256("".join(f"{file}\n{text}" for file, text in modules.items()).encode()).hexdigest()
    package = folder / f"pose_uplift_served_{digest[:8]}"

    def write(file: Path, text: str) -> Path:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(_IMPORT.sub(rf"\g<1>{package.name}.\g<2>", text), encoding="utf-8")
        return file

    for file, text in modules.items():
        write(package / file, text)
    write(package / "__init__.py", "")
    return write(folder / SERVED.name, SERVED.read_text(encoding="utf-8")), package


@functools.cache  # parsing the files takes most of the time that logging a model takes
def _served_modules() -> tuple[Path, ...]:
    """Return the files of this project that `served_lifter` imports, also indirectly, and their `__init__` files."""
    modules: set[Path] = set()
    pending = [SERVED]
    while pending:
        for name in _imported_names(pending.pop()):
            if name.partition(".")[0] not in _LAYERS:
                continue
            file = _ROOT.joinpath(*name.split("."))
            packages = [parent / "__init__.py" for parent in (file, *file.parents) if _ROOT in parent.parents]
            for module in (file.with_suffix(".py"), *packages):
                if module.is_file() and module not in modules:
                    modules.add(module)
                    pending.append(module)
    return tuple(sorted(modules))


def _imported_names(file: Path) -> set[str]:
    """Return the dotted names that a file imports; for `from a import b` both `a` and `a.b`, which may be a module."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names
