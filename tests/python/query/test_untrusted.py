"""Statements that nobody vouches for: refused or killed, and the database is as it was."""

import asyncio
import hashlib
import json
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mcp_performance import ConfigurationError, DatabaseCorrupt, QueryError, analyze_untrusted

INTERRUPTED = 9


def digest(database: Path) -> str:
    return hashlib.sha256(database.read_bytes()).hexdigest()


@pytest.fixture(params=["delete", "wal"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "app.db"
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA journal_mode={request.param}")
    connection.execute("CREATE TABLE users (id INTEGER PRIMARY KEY, email TEXT, age INTEGER)")
    rows = ((f"user{n}@example.org", n % 90) for n in range(2000))
    connection.executemany("INSERT INTO users (email, age) VALUES (?, ?)", rows)
    connection.commit()
    yield path  # the writer stays open, as a service's pool does
    connection.close()


def bomb(levels: int) -> str:
    """Compiles in a time that doubles with each level."""
    tables = ["t0 AS (SELECT 1 AS x)"]
    for n in range(1, levels):
        tables.append(f"t{n} AS (SELECT (SELECT x FROM t{n - 1}) + (SELECT x FROM t{n - 1}) AS x)")
    return f"WITH {', '.join(tables)} SELECT x FROM t{levels - 1}"


async def test_the_report_is_ready_for_json(database: Path) -> None:
    report = await analyze_untrusted(database, "SELECT * FROM users WHERE email = 'canary'")
    text = json.dumps(report)
    assert report["fingerprint"] == "SELECT * FROM users WHERE email = ?"
    assert {"select-star", "full-scan", "missing-index"} <= {issue["code"] for issue in report["issues"]}  # type: ignore[attr-defined]
    assert "canary" not in text


@pytest.mark.parametrize("name", ["app.db", "a b%20#?.db"])
async def test_a_database_that_nobody_has_open_is_read_as_it_lies_there(tmp_path: Path, name: str) -> None:
    database = tmp_path / name
    connection = sqlite3.connect(database)
    connection.execute("PRAGMA journal_mode=wal")
    connection.execute("CREATE TABLE t (a)")
    connection.close()
    before = digest(database)
    assert (await analyze_untrusted(database, "SELECT a FROM t WHERE a = 1"))["plan"]
    assert os.listdir(tmp_path) == [name]
    assert digest(database) == before


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1; DROP TABLE users",
        "ATTACH DATABASE '/tmp/canary.db' AS other",
        "DETACH DATABASE main",
        "PRAGMA user_version = 7",
        "SELECT * FROM pragma_table_info('users')",
        "SELECT load_extension('canary')",
        "VACUUM INTO '/tmp/canary.db'",
        "CREATE TABLE other (a)",
        "DROP TABLE users",
        "REINDEX",
        "BEGIN",
        "EXPLAIN SELECT 1",
        "DELETE FROM sqlite_schema",
        "CREATE TEMP TABLE t AS SELECT 1",
        "SELECT fts3_tokenizer('simple')",
        "SELECT 'canary",
        "SELECT canary'x' FROM users",
        "",
        "-- canary",
        "(" * 30_000,
        "SELECT " + "(" * 20_000 + "1" + ")" * 20_000,
    ],
)
async def test_what_is_not_one_plain_query_is_refused_and_not_repeated(database: Path, sql: str) -> None:
    before = digest(database)
    with pytest.raises(QueryError) as refused:
        await analyze_untrusted(database, sql)
    assert "'" not in str(refused.value)
    assert digest(database) == before


async def test_a_statement_that_compiles_for_ever_is_killed_at_the_deadline(database: Path) -> None:
    before = digest(database)
    sql = bomb(40)
    with pytest.raises(QueryError, match=r"took longer than 0\.25 s") as killed:
        await analyze_untrusted(database, sql, timeout=0.25)
    assert killed.value.code == INTERRUPTED
    assert digest(database) == before
    assert (await analyze_untrusted(database, "SELECT age FROM users WHERE id = 1"))["issues"] == ()


async def test_writes_are_analyzed_and_never_made(database: Path) -> None:
    before = digest(database)
    for sql in ("DELETE FROM users", "UPDATE users SET age = 1", "INSERT INTO users VALUES (9999, 'a', 1)"):
        await analyze_untrusted(database, sql)
    assert digest(database) == before


@pytest.mark.parametrize("size", [65_537, 10 << 20])
async def test_a_long_statement_is_refused_before_anything_starts(tmp_path: Path, size: int) -> None:
    with pytest.raises(ConfigurationError, match="expected at most 65536 bytes") as refused:
        await analyze_untrusted(tmp_path / "no such file", "x" * size)
    assert "xx" not in str(refused.value)


async def test_length_is_counted_in_bytes(database: Path) -> None:
    await analyze_untrusted(database, "SELECT 'ää'", max_bytes=13)
    with pytest.raises(ConfigurationError, match="expected at most 12 bytes"):
        await analyze_untrusted(database, "SELECT 'ää'", max_bytes=12)


@pytest.mark.parametrize(
    "options", [{"timeout": 0}, {"timeout": float("nan")}, {"timeout": True}, {"max_bytes": 0}]
)
async def test_a_bad_argument_is_named(database: Path, options: dict[str, float]) -> None:
    (name,) = options
    error = TypeError if options == {"timeout": True} else ConfigurationError
    with pytest.raises(error, match=f"^{name}="):
        await analyze_untrusted(database, "SELECT 1", **options)  # type: ignore[arg-type]


async def test_a_file_that_is_no_database_is_told_apart_from_a_missing_one(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"no database at all" * 100)
    with pytest.raises(DatabaseCorrupt):
        await analyze_untrusted(other, "SELECT 1")
    with pytest.raises(QueryError, match="unable to open"):
        await analyze_untrusted(tmp_path / "missing", "SELECT 1")
    assert not (tmp_path / "missing").exists()


async def test_a_cancelled_analysis_leaves_no_process(database: Path) -> None:
    task = asyncio.create_task(analyze_untrusted(database, bomb(40), timeout=60))
    started = asyncio.get_running_loop().create_future()

    def look() -> None:
        if children():
            started.set_result(None)
        else:
            asyncio.get_running_loop().call_soon(look)

    look()
    await started
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert children() == ""


def children() -> str:
    tasks = Path("/proc/self/task").iterdir()
    return "".join((task / "children").read_text() for task in tasks if (task / "children").exists()).strip()


async def test_a_loop_in_another_thread_is_served(database: Path) -> None:
    found: list[object] = []

    def run() -> None:
        found.append(asyncio.run(analyze_untrusted(database, "SELECT age FROM users"))["hash"])

    thread = threading.Thread(target=run)
    thread.start()
    await asyncio.to_thread(thread.join)
    assert len(found) == 1


def test_the_helper_refuses_to_work_without_its_limits() -> None:
    helper = Path(sys.modules["mcp_performance._core"].__file__ or "").with_name("mcp_analyze")
    assert subprocess.run([helper], stdin=subprocess.DEVNULL, check=False).returncode == 2
