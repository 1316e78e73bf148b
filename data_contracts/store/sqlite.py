"""URIs of SQLite files, and a check that a file is a usable database."""

import re
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote, unquote, urlencode

from data_contracts.errors import InputError

_PLAIN = re.compile(r"sqlite(?:\+\w+)?:///([^?]*)(?:\?.*)?")
_WAIT_SECONDS = 60.0


def sqlite_uri(file: Path, driver: str | None = None, **options: str | int) -> str:
    """Return the SQLAlchemy URI of a SQLite file, with `options` (e.g. `timeout=60`) as query parameters.

    SQLAlchemy ends the path at the first `?` and decodes no escapes, so a path with a `?` becomes a SQLite `file:` URI.
    """
    scheme, path = f"sqlite+{driver}" if driver else "sqlite", str(file.absolute())
    if "?" in path:
        # with an explicit driver MLflow does not create the folder `file:` in the current folder
        scheme, path, options = f"sqlite+{driver or 'pysqlite'}", f"file:{quote(path)}", {"uri": "true", **options}
    return f"{scheme}:///{path}" + (f"?{urlencode(options)}" if options else "")


def sqlite_file(uri: str) -> Path | None:
    """Return the absolute path of the SQLite file in a SQLAlchemy URI, or None for another kind of database."""
    match = _PLAIN.fullmatch(uri)
    if match is None or not match[1] or match[1] == ":memory:":
        return None
    path = unquote(match[1].removeprefix("file:")) if match[1].startswith("file:") else match[1]
    return Path(path).parent.resolve() / Path(path).name


def check_database(file: Path) -> None:
    """Raise an InputError if a file is empty, truncated, or not a SQLite database, or if it cannot be opened.

    SQLite itself treats an empty file as a new database. Opening a truncated file with MLflow retries for minutes.
    """
    remedy = "restore it from a backup, or move it away to start with an empty database"
    try:
        with closing(sqlite3.connect(f"file:{quote(str(file))}?mode=ro", _WAIT_SECONDS, uri=True)) as connection:
            (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError as error:
        raise InputError(
            f"{file}: the database cannot be opened ({error}); check the permissions of the file"
        ) from error
    except sqlite3.DatabaseError as error:
        raise InputError(f"{file}: the database is damaged ({error}); {remedy}") from error
    if not tables:
        raise InputError(f"{file}: the database is empty; {remedy}")
