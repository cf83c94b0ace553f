"""What the doctor finds, the exit code that scripts rely on."""

import importlib.metadata
import json
import sqlite3
import tomllib
from pathlib import Path

import pytest

from mcp_performance import __version__
from mcp_performance.cli import _doctor, main
from redis_server import redis_server

PROJECT = Path(__file__).parents[3] / "pyproject.toml"


def findings(capsys, *arguments):
    code = main(["doctor", "--json", *arguments])
    found = {one["name"]: one for one in json.loads(capsys.readouterr().out)}
    return code, found


def test_a_sound_installation_has_nothing_wrong(capsys):
    code, found = findings(capsys)
    assert code == 0
    assert __version__ in found["mcp-performance"]["says"]
    assert found["SQLite"]["state"] == "ok"
    assert "libsqlite3" in found["SQLite"]["says"]
    assert {"Python", "system", "HTTP/2", "Redis", "limits", "page cache", "open files", "extra demo"} <= set(
        found
    )
    assert all(one["advice"] for one in found.values() if one["state"] != "ok")


def test_every_extra_is_looked_at_and_said_how_to_get(capsys, monkeypatch):
    declared = tomllib.loads(PROJECT.read_text())["project"]["optional-dependencies"]
    _, found = findings(capsys)
    assert {name for name in found if name.startswith("extra ")} == {f"extra {name}" for name in declared}
    assert found["extra flask"]["says"] == f"flask {importlib.metadata.version('flask')}"

    version = importlib.metadata.version

    def without_flask(package):
        if package == "flask":
            raise importlib.metadata.PackageNotFoundError(package)
        return version(package)

    monkeypatch.setattr(importlib.metadata, "version", without_flask)
    code, found = findings(capsys)
    lacking = found["extra flask"]
    assert (code, lacking["state"], lacking["says"]) == (0, "note", "flask not installed")
    assert lacking["advice"] == "pip install 'mcp-performance[flask]'"


def test_a_module_with_a_sqlite_of_its_own_is_named(capsys, monkeypatch, tmp_path):
    assert "SQLite of sqlean" not in findings(capsys)[1]
    (tmp_path / "sqlean.py").write_text("raise SystemExit('is not imported')")
    monkeypatch.syspath_prepend(tmp_path)
    code, found = findings(capsys)
    assert (code, found["SQLite of sqlean"]["state"]) == (0, "note")
    assert "same process" in found["SQLite of sqlean"]["advice"]


def test_it_prints_a_line_for_each_finding(capsys):
    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("ok     mcp-performance")


def test_a_redis_that_was_asked_for_has_to_answer(capsys, tmp_path):
    code, found = findings(capsys, "--redis", f"unix://{tmp_path}/nobody.sock")
    assert code == 1
    assert found["Redis"]["state"] == "wrong"
    code, found = findings(capsys, "--redis", "http://nonsense")
    assert code == 1
    assert "nonsense" in found["Redis"]["says"]


@pytest.fixture(scope="module")
def guarded():
    """A server with a password, and a user who may do next to nothing."""
    with redis_server("--requirepass", "secret", "--databases", "4") as server:
        server.cli("-a", "secret", "ACL", "SETUSER", "poor", "on", ">poor", "+get")
        yield server


@pytest.mark.parametrize(
    ("url", "says", "remedy"),
    [
        ("redis://127.0.0.1:{port}", "NOAUTH", "give the password in the URL"),
        ("redis://:wrong@127.0.0.1:{port}", "WRONGPASS", "mend the user or the password"),
        ("redis://nobody:secret@127.0.0.1:{port}", "WRONGPASS", "mend the user or the password"),
        ("redis://poor:poor@127.0.0.1:{port}", "NOPERM", "ACL SETUSER"),
        ("redis://:secret@127.0.0.1:{port}/9", "refused SELECT", "the number of the database"),
        ("rediss://:secret@127.0.0.1:{port}", "TLS", "redis://, not rediss://"),
        ("unix:///nowhere/redis.sock", "No such file", "the path of its socket"),
        ("redis://127.0.0.1:1", "Connection refused", "start it, or mend the address"),
    ],
)
def test_what_is_wrong_with_a_redis_has_a_remedy_of_its_own(capsys, guarded, monkeypatch, url, says, remedy):
    if not url.startswith("rediss"):  # there the end of the wait is the answer
        monkeypatch.setattr(_doctor, "_REDIS_TIMEOUT", 60.0)
    code, found = findings(capsys, "--redis", url.format(port=guarded.port))
    assert code == 1
    assert found["Redis"]["state"] == "wrong"
    assert says in found["Redis"]["says"]
    assert remedy in found["Redis"]["advice"]
    assert "secret" not in found["Redis"]["says"] + found["Redis"]["advice"]


def test_a_redis_that_refuses_us_is_not_said_to_be_absent(capsys, guarded, monkeypatch):
    monkeypatch.setattr(_doctor, "_LOCAL_REDIS", guarded.url)
    monkeypatch.setattr(_doctor, "_REDIS_TIMEOUT", 60.0)
    code, found = findings(capsys)
    assert code == 0
    assert found["Redis"]["state"] == "note"
    assert "NOAUTH" in found["Redis"]["says"]


def test_it_looks_at_a_database(capsys, tmp_path):
    sound, broken = tmp_path / "sound.db", tmp_path / "broken.db"
    with sqlite3.connect(sound) as connection:
        connection.execute("CREATE TABLE t (a)")
    broken.write_text("no database at all, but long enough to be one" * 100)
    code, found = findings(capsys, "--database", str(sound))
    assert (code, found[f"database {sound}"]["state"]) == (0, "ok")
    assert "journal_mode=delete" in found[f"database {sound}"]["says"]
    for path in (broken, tmp_path / "absent.db"):
        code, found = findings(capsys, "--database", str(path))
        assert (code, found[f"database {path}"]["state"]) == (1, "wrong")


def test_a_setting_that_means_nothing_is_wrong(capsys, monkeypatch):
    monkeypatch.setenv("MCP_PERFORMANCE_DB_POOL_SIZE", "5")
    monkeypatch.setenv("MCP_PERFORMANCE_DB_POOLSIZE", "5")
    code, found = findings(capsys)
    assert code == 1
    assert found["setting DB_POOL_SIZE"]["state"] == "ok"
    assert found["setting DB_POOLSIZE"]["state"] == "wrong"


def test_the_page_cache_is_held_against_the_memory(capsys, monkeypatch):
    monkeypatch.setattr("mcp_performance.config.DB_CACHE_SIZE", 2**40)
    code, found = findings(capsys)
    assert (code, found["page cache"]["state"]) == (0, "note")
