"""Named rows outside the process that read them, and texts that are none."""

import pickle
import sqlite3
from pathlib import Path

import pytest

from mcp_performance import NamedRow, SQLitePool, TextError

MADE_BY_0_1_0 = {
    2: b"\x80\x02cmcp_performance._sqlite_rows\n_restore\nq\x00"
    b"X\x02\x00\x00\x00idq\x01X\x04\x00\x00\x00nameq\x02\x86q\x03"
    b"K\x07X\x05\x00\x00\x00sevenq\x04\x86q\x05\x86q\x06Rq\x07.",
    5: b"\x80\x05\x95K\x00\x00\x00\x00\x00\x00\x00"
    b"\x8c\x1cmcp_performance._sqlite_rows\x94\x8c\x08_restore\x94\x93\x94"
    b"\x8c\x02id\x94\x8c\x04name\x94\x86\x94K\x07\x8c\x05seven\x94\x86\x94\x86\x94R\x94.",
}


@pytest.mark.parametrize("protocol", MADE_BY_0_1_0)
def test_a_pickle_of_an_earlier_version_still_loads(protocol: int) -> None:
    row = pickle.loads(MADE_BY_0_1_0[protocol])
    assert isinstance(row, NamedRow)
    assert row == (7, "seven")
    assert row.as_dict() == {"id": 7, "name": "seven"}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_row_survives_pickling_and_its_pickle_names_no_private_module(
    tmp_path: Path, protocol: int
) -> None:
    with SQLitePool(tmp_path / "a.db").blocking as pool:
        row = pool.fetchrow("SELECT 7 AS id, 'seven' AS name", row_type="named")
    data = pickle.dumps(row, protocol)
    assert b"mcp_performance.sqlite" in data
    assert b"mcp_performance._" not in data
    assert b"mcp_performance.sqlite._" not in data
    back = pickle.loads(data)
    assert isinstance(back, NamedRow)
    assert back == row
    assert back["name"] == "seven"


async def test_invalid_utf8_is_a_decode_error(tmp_path: Path) -> None:
    sql = "SELECT CAST(x'ff41' AS TEXT) AS name"
    async with SQLitePool(tmp_path / "a.db") as pool:
        for _ in range(3):
            with pytest.raises(UnicodeDecodeError):
                await pool.fetchval("SELECT CAST(x'ff41' AS TEXT)")
            for row_type in ("tuple", "named", "dict"):
                with pytest.raises(TextError, match="column 'name' is not UTF-8") as caught:
                    await pool.fetch(sql, row_type=row_type)  # type: ignore[call-overload]
                assert (caught.value.column, caught.value.object) == ("name", b"\xffA")
                assert isinstance(caught.value, sqlite3.OperationalError)  # as sqlite3 raises
            assert await pool.fetchval("SELECT CAST(CAST(x'ff41' AS TEXT) AS BLOB)") == b"\xffA"


TEXTS = ["", "a", "seven", "naïve", "日本語", "\U0001f600 smile", "nul\0in it", "x" * 70_000, "é" * 70_000]


@pytest.mark.parametrize("encoding", ["UTF-8", "UTF-16le", "UTF-16be"])
def test_texts_are_the_same_however_a_database_keeps_them(tmp_path: Path, encoding: str) -> None:
    with sqlite3.connect(tmp_path / "a.db") as plain:
        plain.execute(f"PRAGMA encoding='{encoding}'")
        plain.execute("CREATE TABLE t (k TEXT PRIMARY KEY, b BLOB, n)")
        plain.executemany(
            "INSERT INTO t VALUES (?, ?, ?)", [(text, text.encode(), len(text)) for text in TEXTS]
        )
    for sql in (
        "SELECT * FROM t ORDER BY rowid",
        "SELECT k || b, CAST(k AS BLOB), CAST(b AS TEXT), CAST(n AS TEXT), k || NULL FROM t ORDER BY rowid",
        "SELECT upper(k), typeof(k), k, k, length(k) FROM t ORDER BY k",
    ):
        expected = plain.execute(sql).fetchall()
        with SQLitePool(tmp_path / "a.db").blocking as pool:
            assert pool.fetch(sql, cache=False) == expected, sql
            assert pool.fetch(sql) == pool.fetch(sql) == expected, sql
            assert list(pool.stream(sql)) == expected, sql
            for text in TEXTS:
                assert pool.fetchval("SELECT n FROM t WHERE k = ?", (text,)) == len(text)
    plain.close()
