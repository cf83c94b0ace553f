"""What a text is before it becomes SQL or the name of a file: whole, one statement, UTF-8."""

import os
import re
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from mcp_performance import (
    ConfigurationError,
    HttpClient,
    IdempotencyStore,
    LoadTester,
    QueryAnalyzer,
    QueryError,
    RedisTier,
    SQLitePool,
    analyze_untrusted,
    fingerprint,
)
from sqlite_entries import OTHERS, READS, WRITES


@pytest.fixture
async def pool(tmp_path: Path) -> AsyncIterator[SQLitePool]:
    async with SQLitePool(tmp_path / "app.db", size=2, synchronous="OFF") as pool:
        await pool.execute("CREATE TABLE t (a)")
        await pool.executemany("INSERT INTO t VALUES (?)", [(1,), (2,)])
        yield pool


async def _untrusted(pool: SQLitePool, sql: str, _: Any) -> Any:
    return await analyze_untrusted(pool.path, sql)


async def _advise(pool: SQLitePool, sql: str, _: Any) -> Any:
    return QueryAnalyzer(Path(pool.path)).advise([sql])


async def _advise_weighted(pool: SQLitePool, sql: str, _: Any) -> Any:
    return QueryAnalyzer(Path(pool.path)).advise([(sql, 2.0)])


async def _record(pool: SQLitePool, sql: str, _: Any) -> Any:
    QueryAnalyzer(Path(pool.path)).record(sql, 0.1)


async def _fingerprint(_pool: SQLitePool, sql: str, _: Any) -> Any:
    return fingerprint(sql)


INDEX = "CREATE INDEX i ON t (a) -- "


async def _ensure_indexes(pool: SQLitePool, sql: str, _: Any) -> Any:
    return await pool.ensure_indexes([INDEX + sql])


async def _blocking_ensure_indexes(pool: SQLitePool, sql: str, _: Any) -> Any:
    return pool.blocking.ensure_indexes([INDEX + sql])


RUNNING = {**READS, **WRITES}
TEXTS = {
    **RUNNING,
    **OTHERS,
    "analyze_untrusted": _untrusted,
    "advise": _advise,
    "advise with weights": _advise_weighted,
    "record": _record,
    "fingerprint": _fingerprint,
    "ensure_indexes": _ensure_indexes,
    "blocking.ensure_indexes": _blocking_ensure_indexes,
}
every_text = pytest.mark.parametrize("entry", TEXTS)


@every_text
@pytest.mark.parametrize("sql", ["DELETE FROM t\0 WHERE a=1", "\0", "SELECT 'é\0'", "SELECT 1\0"])
async def test_a_nul_in_sql_is_refused_with_its_place(pool: SQLitePool, entry: str, sql: str) -> None:
    place = sql.index("\0") + (len(INDEX) if "ensure_indexes" in entry else 0)
    with pytest.raises(QueryError, match=rf"sql: a NUL at position {place}\b"):
        await TEXTS[entry](pool, sql, ())
    assert await pool.fetchval("SELECT count(*) FROM t") == 2


@every_text
async def test_a_surrogate_in_sql_is_refused_with_its_name(pool: SQLitePool, entry: str) -> None:
    with pytest.raises(UnicodeEncodeError, match="surrogates not allowed in sql"):
        await TEXTS[entry](pool, "DELETE FROM t WHERE a='\udc80'", ())
    assert await pool.fetchval("SELECT count(*) FROM t") == 2


@pytest.mark.parametrize("entry", [*RUNNING, "init", "analyze", "analyze_untrusted", "fingerprint"])
@pytest.mark.parametrize("sql", [5, None, b"SELECT 1"])
async def test_sql_that_is_no_text_is_a_type_error(pool: SQLitePool, entry: str, sql: Any) -> None:
    with pytest.raises(TypeError, match="sql"):
        await TEXTS[entry](pool, sql, ())


@pytest.mark.parametrize("entry", [*RUNNING, *OTHERS, "analyze_untrusted"])
@pytest.mark.parametrize(
    "sql", ["DELETE FROM t; SELECT 2", "DELETE FROM t;;/**/ x", "DELETE FROM t; DELETE FROM"]
)
async def test_a_second_statement_is_refused(pool: SQLitePool, entry: str, sql: str) -> None:
    if entry in READS:
        sql = sql.replace("DELETE FROM t", "SELECT a FROM t", 1)
    place = re.search(r"(SELECT 2|x|DELETE FROM)$", sql)
    assert place is not None
    with pytest.raises(QueryError, match=f"more than one statement, the second at position {place.start()}"):
        await TEXTS[entry](pool, sql, ())
    assert await pool.fetchval("SELECT count(*) FROM t") == 2


@pytest.mark.parametrize("entry", [*READS, *OTHERS])
@pytest.mark.parametrize(
    "tail", ["", ";", " ; ;\n", ";-- ; x", "; /* y; */ ;", ";\r\n\f\t", "/* open", ";--"]
)
async def test_what_is_no_statement_may_follow(pool: SQLitePool, entry: str, tail: str) -> None:
    found = await TEXTS[entry](pool, f"SELECT a FROM t WHERE a = ?{tail}", (2,))
    assert entry == "analyze" or tuple(found) == (2,)


@pytest.mark.parametrize("sql", ["", " \n", ";", "-- nothing", "/* nothing */;", "\ufeff"])
async def test_no_statement_does_nothing(pool: SQLitePool, sql: str) -> None:
    reference = sqlite3.connect(":memory:")
    assert reference.execute(sql.strip("\ufeff")).fetchall() == []
    reference.close()
    for entry in READS.values():
        assert await entry(pool, sql, ()) is None
        with pytest.raises(QueryError, match="the statement takes 0, 1 was given"):
            await entry(pool, sql, (1,))
    assert await pool.fetch(sql) == []
    assert await pool.execute(sql) == 0
    async with pool.transaction() as connection:
        assert await connection.execute(sql) == 0
    with pytest.raises(QueryError, match="executemany takes statements that write"):
        await pool.executemany(sql, [()])


@pytest.mark.parametrize(
    "sql",
    ["ATTACH ? AS other", "ATTACH DATABASE :a AS other", "VACUUM INTO ?", "/* x */ attach (?) AS other"],
)
@pytest.mark.parametrize("kind", [str, str.encode])
async def test_a_parameter_that_names_a_file_holds_no_nul(
    pool: SQLitePool, tmp_path: Path, sql: str, kind: Callable[[str], Any]
) -> None:
    name = kind(f"{tmp_path}/other.db\0.txt")
    async with pool.acquire() as connection:
        with pytest.raises(QueryError, match="parameter 1: a NUL at position"):
            await connection.execute(sql, (name,))
    assert not (tmp_path / "other.db").exists()


@pytest.mark.parametrize("method", ["create_function", "create_collation"])
async def test_a_name_in_sql_holds_no_nul(tmp_path: Path, method: str) -> None:
    def init(connection: Any) -> None:
        if method == "create_function":
            connection.create_function("f\0g", 0, lambda: 1)
        else:
            connection.create_collation("f\0g", lambda left, right: 0)

    with pytest.raises(ConfigurationError, match="name: a NUL at position 1"):
        async with SQLitePool(tmp_path / "a.db", init=init):
            pass


NAMES = ["{}/a.db\0b", "\0", "file:{}/a.db\0b", "file:{}/a.db%00b", "{}/a\udc80.db", ""]


@pytest.mark.parametrize("name", NAMES)
async def test_the_name_of_a_file_is_whole(pool: SQLitePool, tmp_path: Path, name: str) -> None:
    name = name.format(tmp_path)
    before = sorted(os.listdir(tmp_path))
    for make in (SQLitePool, QueryAnalyzer):
        with pytest.raises(ConfigurationError, match="path="):
            make(name)
    with pytest.raises(ConfigurationError, match="path="):
        await pool.backup(name)
    with pytest.raises(ConfigurationError, match="path="):
        pool.blocking.backup(name)
    with pytest.raises(ConfigurationError, match="database="):
        await analyze_untrusted(name, "SELECT 1")
    assert sorted(os.listdir(tmp_path)) == before


def test_other_names_that_c_would_cut() -> None:
    with pytest.raises(ConfigurationError, match="url="):
        RedisTier("unix:///run/redis%00.sock")
    with pytest.raises(ConfigurationError, match="storage="):
        IdempotencyStore("a\0b.db")


async def test_sockets_and_hosts_that_c_would_cut() -> None:
    for options in ({"unix_socket": "/run/a\0b"}, {"url": "http+unix://%2Frun%2Fa%00b/"}):
        with pytest.raises(ConfigurationError, match=r"unix_socket|url"):
            HttpClient(**{"url": "http://localhost", **options}).get("/")  # type: ignore[arg-type]
    tester = LoadTester("http+unix://%2Frun%2Fa%00b/")
    with pytest.raises(ConfigurationError, match="unix_socket"):
        await tester.run_load_test(num_requests=1, concurrent_users=1)
