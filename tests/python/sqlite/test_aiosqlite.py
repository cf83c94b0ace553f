"""mcp_performance.aiosqlite beside the real one: the same programs have the same outcomes."""

import asyncio
import gc
import inspect
import os
import sqlite3
import subprocess
import sys
import textwrap
import warnings

import aiosqlite as real
import pytest

from mcp_performance import aiosqlite as ours


async def outcome(awaitable):
    """What it returns, or the class and text of what it raises."""
    try:
        return await awaitable
    except Exception as error:
        return kind(error), str(error)


def kind(error):
    """Its class; of what is closed, ours is of sqlite3's class besides that of aiosqlite."""
    return ValueError if isinstance(error, ours.ConnectionClosed) else type(error)


async def cursors(module, path):
    async with module.connect(path) as db:
        made = await db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT)")
        yield made.description, made.rowcount, made.lastrowid
        await made.close()
        async with db.execute("INSERT INTO t (name) VALUES (?)", ("one",)) as cursor:
            yield cursor.rowcount, cursor.lastrowid, cursor.arraysize, cursor.iter_chunk_size
        async with db.executemany("INSERT INTO t (name) VALUES (?)", [(str(i),) for i in range(200)]) as many:
            yield many.rowcount, many.lastrowid
        yield db.in_transaction, db.total_changes
        await db.commit()
        yield db.in_transaction
        async with db.execute("SELECT id, name AS called FROM t WHERE id > :low", {"low": 3}) as cursor:
            yield cursor.description
            yield await cursor.fetchone()
            yield await cursor.fetchmany()
            cursor.arraysize = 3
            yield await cursor.fetchmany()
            yield await cursor.fetchmany(2)
            yield [row async for row in cursor]
            yield await cursor.fetchone(), await cursor.fetchall(), await cursor.fetchmany()
        async with db.cursor() as cursor:
            yield await cursor.execute("SELECT count(*) FROM t") is cursor
            yield await cursor.fetchone()
            await cursor.executemany("DELETE FROM t WHERE id = ?", [(1,), (2,), (1000,)])
            yield cursor.rowcount
            await cursor.executescript("CREATE TABLE u (a); INSERT INTO u VALUES (1), (2);")
            yield await cursor.fetchall()
            yield cursor.connection is db._conn
        yield await db.execute_fetchall("SELECT * FROM u")
        yield await db.execute_insert("INSERT INTO u VALUES (?)", (3,))
        async with db.execute_fetchall("SELECT a FROM u") as rows:
            yield rows
        async with db.execute_insert("INSERT INTO u VALUES (?)", (4,)) as row:
            yield row
        await db.rollback()
        yield await db.execute_fetchall("SELECT count(*) FROM u")
        async with db.executescript("CREATE TABLE v (a); CREATE TABLE w (a);") as cursor:
            yield type(cursor).__name__
        yield await asyncio.create_task(db.execute_fetchall("SELECT 1"))


async def factories(module, path):
    async with module.connect(path, isolation_level=None, iter_chunk_size=2) as db:
        await db.executescript(
            "CREATE TABLE t (a TEXT, b); INSERT INTO t VALUES ('x', 1), ('y', 2), ('z', 3);"
        )
        yield db.row_factory, db.text_factory, db.isolation_level
        db.row_factory = module.Row
        row = await (await db.execute("SELECT * FROM t")).fetchone()
        yield row["a"], row.keys(), tuple(row)
        cursor = await db.execute("SELECT * FROM t")
        cursor.row_factory = lambda cursor, row: {cursor.description[i][0]: v for i, v in enumerate(row)}
        yield cursor.iter_chunk_size, [row async for row in cursor]
        db.row_factory = None
        db.text_factory = bytes
        yield await db.execute_fetchall("SELECT a FROM t")
        db.text_factory = lambda data: data.decode() + "!"
        yield await db.execute_fetchall("SELECT a FROM t")
    async with module.connect(path, isolation_level="EXCLUSIVE") as db:
        yield db.isolation_level
        db.isolation_level = "IMMEDIATE"
        yield db.isolation_level


async def transactions(module, path):
    async with module.connect(path, isolation_level=None) as db:
        await db.execute("CREATE TABLE t (a UNIQUE)")
        await db.execute("BEGIN IMMEDIATE")
        await db.execute("INSERT INTO t VALUES (1)")
        yield db.in_transaction
        await db.execute("SAVEPOINT one")
        await db.execute("INSERT INTO t VALUES (2)")
        await db.execute("ROLLBACK TO one")
        await db.execute("RELEASE one")
        yield await outcome(db.execute("INSERT INTO t VALUES (1)"))
        await db.execute("COMMIT")
        yield await db.execute_fetchall("SELECT a FROM t")
    async with module.connect(path) as one, module.connect(path, timeout=0) as two:
        await one.execute("INSERT INTO t VALUES (5)")
        yield await outcome(two.execute("INSERT INTO t VALUES (6)"))
        await one.rollback()
        await two.execute("INSERT INTO t VALUES (7)")  # is not committed
    async with module.connect(path) as db:
        yield await db.execute_fetchall("SELECT a FROM t")


async def errors(module, path):
    yield await outcome(module.connect(path + "/nowhere"))
    yield await outcome(module.connect(path, nonsense=1))
    db = await module.connect(path)
    yield await outcome(db.execute("SELEC"))
    yield await outcome(db.execute("SELECT 1; SELECT 2"))
    yield await outcome(db.execute("SELECT ?", ()))
    yield await outcome(db.execute("SELECT ?", (object(),)))
    yield await outcome(db.executemany("SELECT 1", [()]))
    yield await outcome(db.load_extension("nothing") if hasattr(db._conn, "load_extension") else db.commit())
    await db.close()
    await db.close()
    yield await outcome(db.execute("SELECT 1"))
    yield await outcome(db.commit())
    try:
        yield db.in_transaction
    except Exception as error:
        yield kind(error), str(error)


async def hooks(module, path):
    seen = []
    async with module.connect(path) as db:
        await db.create_function("twice", 1, lambda value: value * 2, deterministic=True)
        yield await db.execute_fetchall("SELECT twice(21), twice('ab')")
        await db.create_function("fails", 0, lambda: 1 / 0)
        yield await outcome(db.execute("SELECT fails()"))
        await db.set_trace_callback(seen.append)
        await db.execute("SELECT 1")
        await db.set_trace_callback(None)
        await db.execute("SELECT 2")
        yield seen
        await db.set_progress_handler(lambda: 1, 1)
        yield await outcome(
            db.execute_fetchall(
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT * FROM n"
            )
        )
        await db.set_progress_handler(None, 0)
        await db.execute("CREATE TABLE secret (a)")
        await db.set_authorizer(
            lambda action, first, *_: (
                sqlite3.SQLITE_DENY
                if action == sqlite3.SQLITE_READ and first == "secret"
                else sqlite3.SQLITE_OK
            )
        )
        yield await outcome(db.execute("SELECT a FROM secret"))
        await db.set_authorizer(None)
        yield await db.execute_fetchall("SELECT a FROM secret")


async def copies(module, path):
    told = []
    async with module.connect(path) as db, module.connect(":memory:") as copy:
        await db.executescript("CREATE TABLE t (a); INSERT INTO t VALUES ('it''s'), (NULL), (x'00');")
        yield [line async for line in db.iterdump()]
        await db.backup(copy, pages=1, progress=lambda *steps: told.append(steps), sleep=0.0)
        yield told
        yield await copy.execute_fetchall("SELECT * FROM t")
        plain = sqlite3.connect(":memory:", check_same_thread=False)
        await db.backup(plain)
        yield plain.execute("SELECT count(*) FROM t").fetchall()
        plain.close()


async def types(module, path):
    async with module.connect(path, detect_types=sqlite3.PARSE_DECLTYPES) as db:
        await db.execute("CREATE TABLE t (a POINT_OF_TEST)")
        await db.execute("INSERT INTO t VALUES (?)", (b"1;2",))
        yield await db.execute_fetchall("SELECT a FROM t")
        yield await db.execute_fetchall("SELECT ?, ?, ?, ?, ?", (1, 2.5, "text", b"bytes", None))


async def closing(module, path):
    db = await module.connect(path)
    cursor = await db.execute("SELECT 1, 2")
    asked = [asyncio.ensure_future(cursor.fetchall()) for _ in range(3)]
    closed = asyncio.ensure_future(db.close())
    late = [asyncio.ensure_future(cursor.fetchall()) for _ in range(3)]
    yield [await outcome(one) for one in asked]
    yield [await outcome(one) for one in late]
    await closed
    yield await outcome(cursor.fetchall())
    for name in ("enable_load_extension", "load_extension"):
        if not hasattr(sqlite3.Connection, name):
            async with module.connect(path) as other:
                yield (await outcome(getattr(other, name)(True)))[0]


PROGRAMS = [closing, cursors, factories, transactions, errors, hooks, copies, types]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
async def test_programs_have_the_same_outcomes_under_both(program, tmp_path):
    sqlite3.register_converter("POINT_OF_TEST", lambda data: tuple(map(int, data.split(b";"))))
    logs = {}
    for module in (real, ours):
        path = tmp_path / module.__name__
        path.mkdir()
        logs[module] = [step async for step in program(module, str(path / "app.db"))]
    assert logs[ours] == logs[real]
    assert logs[ours]


def test_the_public_names_are_those_of_aiosqlite():
    assert set(real.__all__) <= set(ours.__all__)
    for name in real.__all__:
        theirs = getattr(real, name)
        if inspect.isclass(theirs) and issubclass(theirs, Exception):
            assert getattr(ours, name) is theirs
    for kind in ("Connection", "Cursor"):
        mine = {name for name in dir(getattr(real, kind)) if not name.startswith("_")}
        assert mine <= set(dir(getattr(ours, kind)))


@pytest.mark.parametrize("kind", ["Connection", "Cursor", "Blob"])
def test_all_that_sqlite3_has_in_this_python_is_there(kind):
    here, there = getattr(ours, kind), getattr(sqlite3, kind)
    names = {name for name in dir(there) if not name.startswith("_")}
    assert names - set(dir(here)) == set()
    for name in names:
        theirs = getattr(there, name)
        if inspect.isclass(theirs):  # an exception
            assert getattr(here, name) is theirs is getattr(ours, name)


async def test_limits_settings_and_what_the_db_api_requires():
    async with ours.connect(":memory:") as db:
        former = await db.setlimit(sqlite3.SQLITE_LIMIT_COLUMN, 2)
        assert former > 2
        assert await db.getlimit(sqlite3.SQLITE_LIMIT_COLUMN) == 2
        with pytest.raises(db.OperationalError, match="too many columns"):
            await db.execute("SELECT 1, 2, 3")
        async with db.cursor() as cursor:
            await cursor.setinputsizes([1])
            await cursor.setoutputsize(1)
            await cursor.setoutputsize(1, 0)
        if sys.version_info >= (3, 12):
            await db.setconfig(sqlite3.SQLITE_DBCONFIG_ENABLE_FKEY)
            assert await db.getconfig(sqlite3.SQLITE_DBCONFIG_ENABLE_FKEY)
            assert await db.execute_fetchall("PRAGMA foreign_keys") == [(1,)]
        else:
            with pytest.raises(AttributeError, match="getconfig: the sqlite3 of this Python has no such"):
                await db.getconfig(1002)


class PathLike:
    def __init__(self, path):
        self.path = path

    def __fspath__(self):
        return self.path


async def test_a_path_may_be_whatever_sqlite3_takes(tmp_path):
    for name in ("a.db", "\u00e6.db", "\udce7.db"):  # the last is no UTF-8
        path = tmp_path / name
        for spelling in (
            path,
            str(path),
            os.fsencode(path),
            PathLike(str(path)),
            PathLike(os.fsencode(path)),
        ):
            async with ours.connect(spelling) as db:
                await db.execute("CREATE TABLE IF NOT EXISTS t (a)")
        assert [file.name for file in tmp_path.iterdir()] == [name]
        path.unlink()


@pytest.mark.parametrize("database", [None, 5, 1.5, ["a.db"], memoryview(b"a.db")])
async def test_what_is_no_path_makes_no_file(database, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TypeError):
        async with ours.connect(database):
            pass
    assert not list(tmp_path.iterdir())


class Uninitialised(sqlite3.Connection):
    def __init__(self, *args, **kwargs):
        pass


class OtherMethods(sqlite3.Connection):
    """What makes no difference to how it is opened."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.row_factory = lambda cursor, row: dict(row)
        self.text_factory = lambda data: 1 / 0

    def cursor(self, *args, **kwargs):
        raise AssertionError

    def execute(self, *args, **kwargs):
        return super().cursor(sqlite3.Cursor).execute("SELECT 'mine'")


async def test_a_factory_may_be_any_class_of_connections(tmp_path):
    with pytest.raises(sqlite3.ProgrammingError, match="__init__ not called"):
        await ours.connect(tmp_path / "app.db", factory=Uninitialised)
    async with ours.connect(tmp_path / "app.db", factory=OtherMethods) as db:
        db.row_factory, db.text_factory = None, str
        assert await db.execute_fetchall("SELECT 1") == [("mine",)]


async def test_a_cursor_may_be_of_a_class_of_its_own():
    class Shouting(sqlite3.Cursor):
        def fetchone(self):
            return tuple(map(str.upper, super().fetchone()))

    async with ours.connect(":memory:") as db:
        cursor = await db.cursor(Shouting)
        await cursor.execute("SELECT 'a', 'b'")
        assert await cursor.fetchone() == ("A", "B")
        with pytest.raises(TypeError):
            await db.cursor(list)


async def test_what_is_closed_raises_what_both_raise():
    db = await ours.connect(":memory:")
    await db.executescript("CREATE TABLE t (a); INSERT INTO t VALUES (x'00')")
    cursor, blob = await db.cursor(), await db.blobopen("t", "a", 1)
    async with db.blobopen("t", "a", 1) as closed:
        pass
    with pytest.raises(sqlite3.ProgrammingError, match="closed blob"):
        async with closed:
            pass
    await db.close()
    never = ours.connect(":memory:")
    late = [cursor.fetchall, blob.read, db.cursor, db.commit, db.interrupt, never.commit, lambda: db.run(id)]
    for call in late:
        for expected in (sqlite3.ProgrammingError, ValueError):
            with pytest.raises(expected):
                await call()
    for name in ("in_transaction", "total_changes", "row_factory", "isolation_level"):
        with pytest.raises(sqlite3.ProgrammingError, match="no active connection"):
            getattr(db, name)


async def test_two_may_close_it_at_the_same_time(tmp_path):
    db = await ours.connect(tmp_path / "app.db")
    await asyncio.wait_for(asyncio.gather(db.close(), db.close(), db.close()), 60)
    assert not db._thread.is_alive() or db._thread.join(60) is None


async def test_interrupt_ends_the_statement_that_runs():
    async with ours.connect(":memory:") as db:
        runs = asyncio.Event()
        loop = asyncio.get_running_loop()
        await db.create_function("runs", 0, lambda: loop.call_soon_threadsafe(runs.set) and None)
        endless = asyncio.create_task(
            db.execute_fetchall(
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i), runs() FROM n"
                " WHERE runs() IS NULL"
            )
        )
        await runs.wait()
        await db.interrupt()
        with pytest.raises(sqlite3.OperationalError, match="interrupted"):
            await endless
        assert await db.execute_fetchall("SELECT 1") == [(1,)]


async def test_what_aiosqlite_lacks(tmp_path):
    class Product:
        def __init__(self):
            self.value = 1

        def step(self, factor):
            self.value *= factor

        def inverse(self, factor):
            self.value //= factor

        def current(self):
            return self.value

        value_of = current

        def finalize(self):
            return self.value

    class Window(Product):
        def __init__(self):
            self.total = 1

        def step(self, factor):
            self.total *= factor

        def inverse(self, factor):
            self.total //= factor

        def value(self):
            return self.total

        finalize = value

    async with ours.connect(tmp_path / "app.db") as db:
        await db.executescript("CREATE TABLE t (a, b); INSERT INTO t VALUES (2, 'b'), (3, 'A'), (4, 'c');")
        await db.create_aggregate("product", 1, Product)
        assert await db.execute_fetchall("SELECT product(a) FROM t") == [(24,)]
        await db.create_window_function("running", 1, Window)
        assert await db.execute_fetchall(
            "SELECT running(a) OVER (ORDER BY a ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM t"
        ) == [(2,), (6,), (12,)]
        await db.create_collation("backwards", lambda one, other: (one < other) - (one > other))
        assert await db.execute_fetchall("SELECT b FROM t ORDER BY b COLLATE backwards") == [
            ("c",),
            ("b",),
            ("A",),
        ]

        await db.execute("INSERT INTO t VALUES (9, zeroblob(10))")
        async with db.blobopen("t", "b", 4) as blob:
            await blob.write(b"hello")
            await blob.seek(-2, 2)
            await blob.write(b"!!")
            assert (await blob.tell(), await blob.length()) == (10, 10)
            await blob.seek(0)
            assert await blob.read(5) == b"hello"
            assert await blob.read() == b"\0\0\0!!"
        with pytest.raises(sqlite3.ProgrammingError, match="closed blob"):
            await blob.read()
        assert await db.execute_fetchall("SELECT b FROM t WHERE a = 9") == [(b"hello\0\0\0!!",)]
        await db.rollback()

        data = await db.serialize()
        assert data[:15] == b"SQLite format 3"
        assert await db.run(lambda plain, sign: plain.execute("SELECT 6 * 7").fetchone()[0] * sign, -1) == -42
        async with ours.connect(":memory:") as other:
            await other.deserialize(data)
            assert await other.execute_fetchall("SELECT count(*) FROM t") == [(3,)]
        db.isolation_level = None  # from another thread than the connection's
        await db.execute("BEGIN")
        await db.execute("ROLLBACK")


async def test_a_dump_that_is_left_early_leaves_the_connection_usable():
    async with ours.connect(":memory:") as db:
        await db.execute("CREATE TABLE t (a)")
        await db.executemany("INSERT INTO t VALUES (?)", [(i,) for i in range(5000)])
        dump = db.iterdump()
        assert await anext(dump) == "BEGIN TRANSACTION;"
        await dump.aclose()
        assert await db.execute_fetchall("SELECT count(*) FROM t") == [(5000,)]


async def test_a_statement_whose_caller_left_is_done_all_the_same(tmp_path):
    async with ours.connect(tmp_path / "app.db") as db:
        await db.execute("CREATE TABLE t (a)")
        inserting = asyncio.create_task(db.execute_fetchall("INSERT INTO t VALUES (1) RETURNING a"))
        await asyncio.sleep(0)
        inserting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await inserting
        await db.commit()
        assert await db.execute_fetchall("SELECT a FROM t") == [(1,)]


async def test_a_connection_that_is_forgotten_says_so_and_closes(tmp_path):
    gc.collect()  # what earlier tests left says so too
    db = await ours.connect(tmp_path / "app.db")
    thread = db._thread
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del db
        gc.collect()
    assert [warning.category for warning in caught] == [ResourceWarning]
    await asyncio.to_thread(thread.join, 60)
    assert not thread.is_alive()


def test_a_process_ends_that_has_not_closed_a_connection(tmp_path):
    program = """
        import asyncio, sys
        from mcp_performance import aiosqlite
        async def main():
            global db
            db = await aiosqlite.connect(sys.argv[1])
            await db.execute("CREATE TABLE t (a)")
            await db.commit()
        asyncio.run(main())
    """
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(program), tmp_path / "app.db"],
        check=True,
        timeout=100,
    )
    assert sqlite3.connect(tmp_path / "app.db").execute("SELECT count(*) FROM t").fetchall() == [(0,)]
