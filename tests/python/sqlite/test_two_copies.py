"""Two copies of SQLite in one process: no file is ever open through both."""

import subprocess
import sys
import textwrap

import pytest

from mcp_performance._base._sqlite_library import choose

BEFORE = """
import sqlite3, sys
from mcp_performance import DatabaseError, SQLitePool
from mcp_performance.sqlite import _library
_library.is_shared = lambda: False
path = sys.argv[1]
"""


def outcome(program, path):
    """What a program prints in a process whose sqlite3 is taken for one with a copy of its own."""
    run = subprocess.run(
        [sys.executable, "-c", BEFORE + textwrap.dedent(program), path],
        capture_output=True,
        text=True,
        timeout=100,
    )
    return run.stdout, run.stderr.strip().splitlines()[-1:]


def test_a_pool_refuses_a_file_that_sqlite3_has_open(tmp_path):
    program = """
        kept = sqlite3.connect(path)
        try:
            SQLitePool(path)
        except DatabaseError as error:
            print("two copies of SQLite" in str(error), "is open outside" in str(error))
        kept.close()
        with SQLitePool(path).blocking as pool:
            print(pool.fetchval("SELECT 1"))
    """
    assert outcome(program, tmp_path / "app.db") == ("True True\n1\n", [])


@pytest.mark.parametrize("spelled", ["path", "path.encode()", "'file:' + path + '?mode=rw'", "link"])
def test_sqlite3_cannot_open_a_file_that_a_pool_has(tmp_path, spelled):
    program = f"""
        import os, pathlib
        pool = SQLitePool(path)
        pool.blocking.execute("CREATE TABLE t (a)")
        link = pathlib.Path(path).with_name("link.db")
        link.symlink_to(path)
        try:
            sqlite3.connect({spelled}, uri=True)
        except DatabaseError as error:
            print("and a pool has" in str(error))
        sqlite3.connect(path + "2").close()
        sqlite3.connect(":memory:").close()
        pool.blocking.close()
        print(sqlite3.connect({spelled}, uri=True).execute("SELECT count(*) FROM t").fetchone())
    """
    assert outcome(program, tmp_path / "app.db") == ("True\n(0,)\n", [])


def test_the_analyzer_refuses_a_file_that_sqlite3_has_open(tmp_path):
    program = """
        from mcp_performance import QueryAnalyzer
        kept = sqlite3.connect(path)
        kept.execute("CREATE TABLE t (a)")
        analyzer = QueryAnalyzer(path)
        try:
            analyzer.analyze("SELECT * FROM t")
        except DatabaseError as error:
            print("is open outside" in str(error))
        kept.close()
        print(analyzer.analyze("SELECT * FROM t").fingerprint)
    """
    assert outcome(program, tmp_path / "app.db") == ("True\nSELECT * FROM t\n", [])


def test_a_relative_path_stays_what_it_was(tmp_path):
    program = """
        import os, pathlib
        folder = pathlib.Path(path).parent
        os.chdir(folder)
        pool = SQLitePool("app.db")
        pool.blocking.execute("CREATE TABLE t (a)")
        os.chdir("/")
        try:
            sqlite3.connect(path)
        except DatabaseError:
            print("refused")
    """
    assert outcome(program, tmp_path / "app.db") == ("refused\n", [])


def test_several_pools_may_have_one_file(tmp_path):
    program = """
        pools = [SQLitePool(path), SQLitePool(":memory:"), SQLitePool(path)]
        for pool in pools:
            print(pool.blocking.fetchval("SELECT 1"))
        print(SQLitePool(path).blocking.fetchval("SELECT 2"))
    """
    assert outcome(program, tmp_path / "app.db") == ("1\n1\n1\n2\n", [])


@pytest.mark.parametrize(
    ("interpreter", "shared", "chosen"),
    [
        (None, 3_040_001, "shared"),
        (None, 3_037_000, "shared"),
        (None, 3_036_999, "bundled"),
        (None, None, "bundled"),
        (3_045_000, None, "global"),
        (3_045_000, 3_040_001, "global"),
    ],
)
def test_a_wheel_shares_the_copy_of_the_interpreter_if_it_can(interpreter, shared, chosen):
    assert choose(interpreter, shared) == chosen


def test_an_old_copy_that_cannot_be_replaced_is_an_error_at_import():
    with pytest.raises(ImportError, match=r"older than 3\.37"):
        choose(3_034_000, 3_040_001)
