"""A temporary PostgreSQL server for tests: Debian's programs, a socket in a folder, no port."""

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

USER = "postgres"  # PostgreSQL refuses to run as root


class NoPostgresError(Exception):
    """PostgreSQL is not installed, or cannot run here."""


@contextmanager
def postgresql_server() -> Iterator[str]:
    """Yield the URI of an empty database; server and folder end with the block.

    Raises
    ------
    NoPostgresError
        The programs, the driver or a user for PostgreSQL are missing.
    """
    programs, user = _programs(), _user()
    folder = Path(mkdtemp(prefix="uplift-pg-", dir="/tmp"))  # a socket's path must be short

    def run(program: str, *arguments: str) -> None:
        command = [str(programs / program), *arguments]
        subprocess.run(command, check=True, cwd="/", stdout=subprocess.DEVNULL, timeout=120, **user)

    try:
        if user:
            shutil.chown(folder, USER, USER)
        run("initdb", "-D", f"{folder}/db", "-U", "uplift", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync")
        options = f"-k {folder} -c listen_addresses='' -c fsync=off"
        run("pg_ctl", "-D", f"{folder}/db", "-l", f"{folder}/log", "-o", options, "-w", "start")
        try:
            yield f"postgresql://uplift@/postgres?host={folder}"
        finally:
            run("pg_ctl", "-D", f"{folder}/db", "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(folder)


def _programs() -> Path:
    """Return the folder of the programs, which Debian does not put on the PATH."""
    found = [Path(path).resolve().parent for path in [shutil.which("initdb")] if path]
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    found = [folder for folder in found if (folder / "initdb").exists() and (folder / "pg_ctl").exists()]
    if not found:
        raise NoPostgresError("PostgreSQL is not installed: no initdb on the PATH or below /usr/lib/postgresql")
    if find_spec("psycopg2") is None:
        raise NoPostgresError("PostgreSQL's driver is not installed: pip install 'pose-uplift[postgres]'")
    return found[0]


def _user() -> dict[str, Any]:
    """Return the arguments of `subprocess.run` for the user of the programs."""
    if os.geteuid() != 0:
        return {}
    if USER not in {entry.pw_name for entry in pwd.getpwall()}:
        raise NoPostgresError(f"PostgreSQL does not run as root, and there is no user {USER}")
    return {"user": USER, "group": USER, "extra_groups": []}
