"""Version of the code that computes a result: the commit that is checked out, and whether files differ from it.

The version is written to manifests and MLflow runs. No digest contains it: a commit that changes a result raises
`CONTRACT_VERSION`.
"""

import subprocess
from functools import cache
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parents[2]
_PACKAGES = ("flows", "tasks", "model", "data_contracts")
_SECONDS = 20.0


@cache  # a process keeps the modules that it imported, even if another commit is checked out meanwhile
def code_version() -> dict[str, Any]:
    """Return the version of the code, as JSON.

    The keys are `commit` (40 hex digits) and `dirty` (whether the code has uncommitted changes). If git fails, both are
    None and `why` has the reason.
    """
    try:
        if Path(_git("rev-parse", "--show-toplevel")).resolve() != _ROOT:
            raise ValueError(f"{_ROOT} is not a clone of the repository")
        return {"commit": _git("rev-parse", "HEAD"), "dirty": bool(_git("status", "--porcelain", "--", *_PACKAGES))}
    except subprocess.CalledProcessError as error:
        why = " ".join(error.stderr.split())
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        why = str(error)
    return {"commit": None, "dirty": None, "why": why}


def describe_code(code: dict[str, Any]) -> str:
    """Return one phrase about the `code_version` of a manifest or a run; it is empty if an earlier version wrote it."""
    if not code:
        return "code not recorded (by an earlier version)"
    if not code["commit"]:
        return f"code not known ({code['why']})"
    changed = " with uncommitted changes" if code["dirty"] else ""
    resumed = ", which resumed an interrupted run" if code.get("resumed") else ""
    return f"code {code['commit'][:10]}{changed}{resumed}"


def _git(*words: str) -> str:
    command = ["git", "--no-optional-locks", "-C", str(_ROOT), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=_SECONDS)
    return done.stdout.strip()
