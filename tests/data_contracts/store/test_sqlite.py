"""SQLite files: their URIs name the right file, and a damaged file is refused."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from data_contracts.errors import InputError
from data_contracts.store.sqlite import check_database, sqlite_file, sqlite_uri


@pytest.mark.parametrize("folder", ["store", "a?b", "a b", "a%3Fb", "a#b", "ä&c=d", "a'b"])
def test_a_uri_opens_the_file_it_was_made_for(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / folder / "mlflow.db"
    file.parent.mkdir()
    for uri in (sqlite_uri(file), sqlite_uri(file, timeout=60)):
        engine = create_engine(uri)
        with engine.begin() as connection:
            connection.execute(text("CREATE TABLE IF NOT EXISTS t (a)"))
        engine.dispose()
        assert file.stat().st_size
        assert sqlite_file(uri) == file
        assert [path.name for path in tmp_path.iterdir()] == [folder]
        file.unlink()


def test_other_uris_name_no_file_and_relative_ones_are_resolved(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for uri in ("http://127.0.0.1:5000", "postgresql:///mlflow", "sqlite://", "sqlite:///:memory:", ""):
        assert sqlite_file(uri) is None
    assert sqlite_file("sqlite:///store/mlflow.db?timeout=60") == tmp_path / "store" / "mlflow.db"
    assert sqlite_uri(Path("/a/b.db"), driver="aiosqlite") == "sqlite+aiosqlite:////a/b.db"


def test_an_empty_a_truncated_and_a_foreign_file_are_refused(tmp_path):
    file = tmp_path / "mlflow.db"
    with closing(sqlite3.connect(file)) as database:
        for number in range(20):
            database.execute(f"CREATE TABLE t{number} (a)")
    content = file.read_bytes()
    check_database(file)
    damaged = {b"": "is empty", content[: len(content) // 2]: "malformed", b"text" * 2000: "not a database"}
    for bytes_, reason in damaged.items():
        file.write_bytes(bytes_)
        with pytest.raises(InputError, match=rf"mlflow\.db: .*{reason}.*restore it from a backup"):
            check_database(file)
