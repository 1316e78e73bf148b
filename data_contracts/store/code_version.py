"""Which code computed a result: the commit that is checked out, and whether the code differs from it.

It stands in manifests and on runs, and in no digest: a commit that changes no result makes nothing anew
(`CONTRACT_VERSION` says when one does).
"""

import subprocess
from functools import cache
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parents[2]
_FLOORS = ("flows", "tasks", "model", "data_contracts")
_SECONDS = 20.0


@cache  # what a process has imported stays as it was, whatever is checked out meanwhile
def code_version() -> dict[str, Any]:
    """`commit` (40 hex digits), and `dirty`: whether a file of the code differs from it or is in none; as JSON.

    Where git cannot tell, both are None and `why` says so.
    """
    try:
        if Path(_git("rev-parse", "--show-toplevel")).resolve() != _ROOT:
            raise ValueError(f"{_ROOT} is no clone")
        return {"commit": _git("rev-parse", "HEAD"), "dirty": bool(_git("status", "--porcelain", "--", *_FLOORS))}
    except subprocess.CalledProcessError as error:
        why = " ".join(error.stderr.split())
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        why = str(error)
    return {"commit": None, "dirty": None, "why": why}


def describe_code(code: dict[str, Any]) -> str:
    """One phrase about what a manifest or a run has of `code_version`; empty is what an earlier version left."""
    if not code:
        return "code not recorded (by an earlier version)"
    if not code["commit"]:
        return f"code not known ({code['why']})"
    changed = " with changes that are in no commit" if code["dirty"] else ""
    return (
        f"code {code['commit'][:10]}{changed}{', which took up a run that was killed' if code.get('resumed') else ''}"
    )


def _git(*words: str) -> str:
    command = ["git", "--no-optional-locks", "-C", str(_ROOT), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=_SECONDS)
    return done.stdout.strip()
