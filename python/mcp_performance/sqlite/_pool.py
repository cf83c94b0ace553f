"""The pool, its connections, and the twin of both for code that blocks."""

from __future__ import annotations

import asyncio
import atexit
import os
import sqlite3
import weakref
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import cached_property
from types import TracebackType
from typing import Any, Literal, Self

from .. import _core, config
from .._base import _logging
from .._base._checks import choice, file_name, flag, function, integer, number
from .._base._registry import register_pool
from .._base._stats import CacheStats
from ..errors import ConfigurationError, PoolTimeout, QueryError
from ._adapters import AdapterName, chosen_adapters
from ._indexes import (
    LIST_INDEXES,
    IndexReport,
    check_index_statement,
    report_created,
    report_existing,
)
from ._lent import Lending, LentConnection
from ._library import check_may_lend, check_shared_library
from ._stats import PoolStats, QueryStats, SlowQuery

__all__ = ["SQLitePool"]

RowTypeName = Literal["tuple", "named", "dict"]
_ROW_TYPES: dict[str, int] = {"tuple": 0, "named": 1, "dict": 2}
_LEVELS = ("OFF", "NORMAL", "FULL", "EXTRA")
_ANY, _READ, _WRITE, _READER = 0, 1, 2, 3
Params = Sequence[Any] | Mapping[str, Any]

_open_pools: weakref.WeakSet[SQLitePool] = weakref.WeakSet()


_LONGEST = 1e9  # seconds


def _seconds(name: str, value: float) -> float:
    return number(name, value, 0, _LONGEST, unit="seconds")


class _Session(_core.SQLiteEndpoint):
    """What the connections of both kinds share: one connection, and how deep its transactions nest."""

    def __init__(self, pool: SQLitePool, blocking: bool) -> None:
        _core._sqlite_attach(self, pool, blocking)
        self._depth = 0

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open."""
        return _core._sqlite_in_transaction(self)

    def _enter(self) -> tuple[str, str, tuple[str, ...]]:
        """The statements that begin, keep and undo the next level."""
        if not self.in_transaction:
            return "BEGIN IMMEDIATE", "COMMIT", ("ROLLBACK",)
        self._depth += 1
        name = f"mcp_performance_{self._depth}"
        return f"SAVEPOINT {name}", f"RELEASE {name}", (f"ROLLBACK TO {name}", f"RELEASE {name}")


def _backup_path(source: str, path: str | os.PathLike[str]) -> str:
    text = file_name("path", path)
    if os.path.exists(text) and os.path.exists(source) and os.path.samefile(text, source):
        raise ConfigurationError(f"path={path!r}: is the database itself")
    return text


def _still_held(pool: _core.SQLiteEndpoint, seconds: float) -> PoolTimeout:
    held = _core._sqlite_held_for(pool)
    texts = [" ".join(sql.split()) for sql in held]
    shown = [
        repr(sql if len(sql) <= 200 else f"{sql[:200]}...") if sql else "no statement yet" for sql in texts
    ]
    return PoolTimeout(
        f"close: after {seconds:g} s {len(held)} of the connections are still in use, "
        f"last for: {', '.join(shown)}"
    )


class Connection(_Session):
    """One connection of a pool, for as long as the block that it came from.

    It has the pool's ``fetch``, ``fetchrow``, ``fetchval``, ``execute``, ``executemany`` and ``stream``. A
    connection from :meth:`SQLitePool.acquire` reads on a reader until its first statement that writes; from
    then on it is the pool's one writer.
    """

    def __init__(self, pool: SQLitePool) -> None:
        super().__init__(pool, blocking=False)

    async def stream(
        self, sql: str, params: Params = (), *, row_type: RowTypeName | None = None
    ) -> AsyncIterator[Any]:
        """As :meth:`SQLitePool.stream`, on this connection."""
        stream = _core._sqlite_stream(self, sql, params, row_type)
        while rows := await stream.next():
            for row in rows:
                yield row

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Self]:
        """A transaction, or a savepoint where one is open: undone when the block raises."""
        begin, keep, undo = self._enter()
        await _core._sqlite_control(self, begin)
        try:
            yield self
        except BaseException:
            for statement in undo:
                if self.in_transaction:
                    await _core._sqlite_control(self, statement)
            raise
        await _core._sqlite_control(self, keep)


class BlockingConnection(_Session):
    """The twin of :class:`Connection` for code without an event loop."""

    def __init__(self, pool: SQLitePool) -> None:
        super().__init__(pool, blocking=True)

    def stream(self, sql: str, params: Params = (), *, row_type: RowTypeName | None = None) -> Iterator[Any]:
        """As :meth:`SQLitePool.stream`, on this connection."""
        stream = _core._sqlite_stream(self, sql, params, row_type)
        while rows := stream.next():
            yield from rows

    @contextmanager
    def transaction(self) -> Iterator[Self]:
        """A transaction, or a savepoint where one is open: undone when the block raises."""
        begin, keep, undo = self._enter()
        _core._sqlite_control(self, begin)
        try:
            yield self
        except BaseException:
            for statement in undo:
                if self.in_transaction:
                    _core._sqlite_control(self, statement)
            raise
        _core._sqlite_control(self, keep)


class BlockingPool(_core.SQLiteEndpoint):
    """The pool for code without an event loop: the same methods, without ``await``. Safe from any thread.

    Statements run on the thread that calls; ``with pool.blocking:`` closes the pool at its end.
    """

    def __init__(self, pool: SQLitePool) -> None:
        _core._sqlite_attach(self, pool, True)
        self._pool = pool

    def __enter__(self) -> Self:
        _core._sqlite_open(self)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self, *, timeout: float | None = None) -> None:
        """As :meth:`SQLitePool.close`."""
        limit = _core._sqlite_close_timeout(self, timeout)
        if not _core._sqlite_close_blocking(self, limit):
            raise _still_held(self, limit)

    @contextmanager
    def acquire(self, *, timeout: float | None = None) -> Iterator[BlockingConnection]:
        """One connection, for the length of the block."""
        connection = BlockingConnection(self._pool)
        _core._sqlite_begin(connection, _ANY, timeout)
        try:
            yield connection
        finally:
            _core._sqlite_release(connection)

    @contextmanager
    def transaction(
        self, readonly: bool = False, *, timeout: float | None = None
    ) -> Iterator[BlockingConnection]:
        """A transaction, for the length of the block: committed at its end, undone when it raises."""
        connection = BlockingConnection(self._pool)
        _core._sqlite_begin(connection, _READ if readonly else _WRITE, timeout)
        try:
            try:
                yield connection
            except BaseException:
                _core._sqlite_end(connection, False)
                raise
            _core._sqlite_end(connection, True)
        finally:
            _core._sqlite_release(connection)

    @contextmanager
    def connection(self, **options: Any) -> Iterator[sqlite3.Connection]:
        """A ``sqlite3.Connection`` to this database, for the length of the block.

        See :meth:`SQLitePool.connection`.
        """
        check_may_lend()
        _core._sqlite_open(self)
        connection = self._pool._lending.open(_core._sqlite_lend_database(self), options)
        try:
            hold = _core._SQLiteForkHold(self._pool.path)
            yield connection
            del hold
        finally:
            connection.close()

    def stream(self, sql: str, params: Params = (), *, row_type: RowTypeName | None = None) -> Iterator[Any]:
        """As :meth:`SQLitePool.stream`."""
        connection = BlockingConnection(self._pool)
        try:
            stream = _core._sqlite_stream(connection, sql, params, row_type)
            _core._sqlite_begin(connection, _READER, None)
            while rows := stream.next():
                yield from rows
        finally:
            _core._sqlite_release(connection)

    def backup(self, path: str | os.PathLike[str]) -> None:
        """As :meth:`SQLitePool.backup`."""
        _core._sqlite_backup(self, _backup_path(self._pool.path, path))

    def ensure_indexes(self, statements: Iterable[str]) -> list[IndexReport]:
        """As :meth:`SQLitePool.ensure_indexes`."""
        reports = []
        for statement in statements:
            check_index_statement(statement)
            with self.transaction() as connection:
                before = connection.fetch(LIST_INDEXES)
                try:
                    with connection.transaction():
                        connection.execute(statement)
                except QueryError as error:
                    reports.append(report_existing(statement, before, error))
                else:
                    reports.append(report_created(statement, before, connection.fetch(LIST_INDEXES)))
        return reports


class SQLitePool(_core.SQLiteEndpoint):
    """A fixed set of connections to one SQLite database: one writer, the others readers.

    Safe from any thread and any event loop. A statement runs on any of the connections, so one that would
    change the connection (a PRAGMA that sets, a temporary table, ATTACH) needs :meth:`acquire` or *init*; a
    connection that was changed is replaced when it is given back. If the database file is replaced or
    deleted, statements that begin 2 us or more after that see the new one; transactions under way fail.

    A task that would wait for the writer, which it has itself, gets :class:`DatabaseError` at once.

    Close it with ``await close()``, ``async with``, or, from code without a loop, ``with pool.blocking``. It
    opens on first use. In a forked child it opens connections of its own.

    Args:
        path: the database file, a ``file:`` URI, or ``":memory:"`` for one private database that all
            connections share (there, readers wait while a write transaction is open).
        size: connections in total.
        cache_pages: page cache of each connection, in pages (of 4 KiB mostly).
        wal: switch the database to write-ahead logging.
        query_cache_ttl: how long a result may be served at most, in seconds, 0 for no result cache. A result
            is never served after a commit to a table that it came from.
        slow_query_threshold: statements that take longer are in :meth:`slow_log`, and in the log
            ``mcp_performance.sqlite`` at level INFO without their values; in seconds.
        query_cache_bytes: memory for results.
        busy_timeout: how long a statement without a timeout waits for other processes' locks, in seconds.
        acquire_timeout: how long a request waits for a connection, in seconds.
        inline_budget: how long a statement may hold its caller's thread, in seconds; 0: none runs there. The
            budget bounds the running of a statement, not the disk reads within one step, nor its preparation.
        synchronous: ``"OFF"``, ``"NORMAL"``, ``"FULL"`` or ``"EXTRA"``, as SQLite's pragma. Under the last
            two, where each commit waits for the disk, short writes that wait for one another share a commit.
        row_type: ``"tuple"``, ``"named"`` (tuples that answer by column name too) or ``"dict"``.
        init: called with each new connection, on the thread that opens it. The connection has
            ``execute(sql, params=())``, ``create_function(name, arguments, function, *,
            deterministic=False)`` and ``create_collation(name, order)``; ``ATTACH`` belongs here.
        adapters: which Python types go in and come out, of ``"bool"``, ``"date"``, ``"datetime"``,
            ``"decimal"``, ``"decimal_text"``, ``"json"`` and ``"uuid"``. A value comes out by the declared
            type of its column: BOOL or BOOLEAN, DATE, DATETIME or TIMESTAMP, DECIMAL or NUMERIC, JSON, UUID.
            With ``"json"`` results are not cached, because they can be changed. ``"decimal"`` takes what
            every column keeps, 15 digits, and refuses longer ones: SQLite stores a text that looks like a
            number as a float in columns of NUMERIC, INTEGER and REAL affinity, and DECIMAL is one of the
            first. ``"decimal_text"`` takes all digits, for columns that keep texts: declare them
            ``DECIMAL_TEXT``; a number that comes out of a DECIMAL column is an error then.
        tracking: keep the figures of :meth:`query_stats` and :meth:`slow_log`.
        name: what reports call the pool; its path by default.

    Raises:
        ConfigurationError: a bad argument.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        size: int | None = None,
        *,
        cache_pages: int | None = None,
        wal: bool | None = None,
        query_cache_ttl: float | None = None,
        slow_query_threshold: float | None = None,
        query_cache_bytes: int = 64 << 20,
        busy_timeout: float = 5.0,
        acquire_timeout: float = 30.0,
        inline_budget: float = 100e-6,
        synchronous: str = "FULL",
        row_type: RowTypeName = "tuple",
        init: Callable[[_core.SQLiteNewConnection], object] | None = None,
        adapters: Iterable[AdapterName] = (),
        tracking: bool = True,
        name: str | None = None,
    ) -> None:
        text = file_name("path", path)
        choice("row_type", row_type, _ROW_TYPES)
        choice("synchronous", synchronous, _LEVELS)
        if init is not None:
            function("init", init)
        _core._sqlite_configure(
            self,
            {
                "path": text if text == ":memory:" or text.startswith("file:") else os.path.abspath(text),
                "memory": text == ":memory:",
                "size": integer("size", config.DB_POOL_SIZE if size is None else size, 1, 1000),
                "cache_pages": integer(
                    "cache_pages", config.DB_CACHE_SIZE if cache_pages is None else cache_pages, 1, 2**31 - 1
                ),
                "wal": config.DB_WAL_MODE if wal is None else flag("wal", wal),
                "query_cache_ttl": _seconds(
                    "query_cache_ttl", config.QUERY_CACHE_TTL if query_cache_ttl is None else query_cache_ttl
                ),
                "slow_query_threshold": _seconds(
                    "slow_query_threshold",
                    config.SLOW_QUERY_THRESHOLD if slow_query_threshold is None else slow_query_threshold,
                ),
                "query_cache_bytes": integer("query_cache_bytes", query_cache_bytes, 0, 2**62),
                "busy_timeout": _seconds("busy_timeout", busy_timeout),
                "acquire_timeout": number(
                    "acquire_timeout", acquire_timeout, 0, _LONGEST, above=True, unit="seconds"
                ),
                "inline_budget": _seconds("inline_budget", inline_budget),
                "synchronous": synchronous,
                "row_type": _ROW_TYPES[row_type],
                "init": init,
                "tracking": flag("tracking", tracking),
                **chosen_adapters(adapters),
            },
        )
        self._lending = Lending(
            synchronous, config.DB_CACHE_SIZE if cache_pages is None else cache_pages, busy_timeout, init
        )
        self.name = text if name is None else name
        self.path = text
        self._blocking: BlockingPool | None = None
        _logging.deliver_native_logs()
        check_shared_library()
        register_pool(self)
        _open_pools.add(self)

    def __repr__(self) -> str:
        return f"<SQLitePool {self.name!r}>"

    @cached_property
    def blocking(self) -> BlockingPool:
        """The pool for code without an event loop: one object as long as the pool lives."""
        return BlockingPool(self)

    async def __aenter__(self) -> Self:
        await _core._sqlite_open(self)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """Refuse new work, wait for what runs or is borrowed, and close the connections.

        Args:
            timeout: how long to wait, in seconds; the pool's ``acquire_timeout`` by default.

        Raises:
            PoolTimeout: a block, a stream or a statement still has a connection; the message has the
                statement. The pool closes when it is given back; :meth:`terminate` closes it at once.
        """
        limit = _core._sqlite_close_timeout(self, timeout)
        try:
            async with asyncio.timeout(limit):
                await _core._sqlite_close(self)
        except TimeoutError:
            raise _still_held(self, limit) from None

    def terminate(self) -> None:
        """Close at once: what waits fails with :class:`PoolClosed`, what runs is stopped and rolled back."""
        _core._sqlite_terminate(self)

    @property
    def closed(self) -> bool:
        """Whether the pool refuses new work."""
        return _core._sqlite_closed(self)

    @asynccontextmanager
    async def acquire(self, *, timeout: float | None = None) -> AsyncIterator[Connection]:  # noqa: ASYNC109
        """One connection, for the length of the block.

        Raises:
            PoolTimeout: none came free in time.
        """
        connection = Connection(self)
        try:
            await _core._sqlite_begin(connection, _ANY, timeout)
            yield connection
        finally:
            _core._sqlite_release(connection)

    @asynccontextmanager
    async def transaction(
        self,
        readonly: bool = False,
        *,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> AsyncIterator[Connection]:
        """A transaction, for the length of the block: committed at its end, undone when it raises.

        Args:
            readonly: one snapshot on a reader, beside the writer.
            timeout: seconds to wait for the connection and for other processes' locks.

        Raises:
            PoolTimeout: the connection or the database's lock was not had in time.
        """
        connection = Connection(self)
        try:
            await _core._sqlite_begin(connection, _READ if readonly else _WRITE, timeout)
            try:
                yield connection
            except BaseException:
                await _core._sqlite_end(connection, False)
                raise
            await _core._sqlite_end(connection, True)
        finally:
            _core._sqlite_release(connection)

    def connection(self, *, iter_chunk_size: int = 64, **options: Any) -> LentConnection:
        """A connection of Python's own ``sqlite3`` to this database, on a thread of its own.

        It is entered or awaited: ``async with pool.connection() as db``.
        For what the pool itself has not: cursors, scripts, dumps, aggregates and window functions, handlers,
        blobs. It works, and raises, as ``aiosqlite`` and ``sqlite3`` do, with ``init=`` and the settings of
        the pool. It is not one of the pool's connections: a transaction on it makes the pool's writer wait
        for ``busy_timeout`` at most, and a commit voids all results that the pool keeps. From then on
        a database in memory keeps none.

        Args:
            iter_chunk_size: rows that a cursor gets at a time when it is iterated.
            options: of ``sqlite3.connect()``.

        Raises:
            PoolClosed: the pool was closed.
            DatabaseError: Python's ``sqlite3`` has a copy of SQLite of its own.
        """
        integer("iter_chunk_size", iter_chunk_size, 1, 2**31 - 1)
        return LentConnection(self, iter_chunk_size, options)

    async def stream(
        self, sql: str, params: Params = (), *, row_type: RowTypeName | None = None
    ) -> AsyncIterator[Any]:
        """The rows of *sql*, read in portions of about 64 KiB as they are consumed, from one snapshot.

        A reader is taken until the end. To leave early, close the iterator (``contextlib.aclosing``).

        Raises:
            QueryError: SQLite refused *sql*, or it writes.
        """
        connection = Connection(self)
        try:
            stream = _core._sqlite_stream(connection, sql, params, row_type)
            await _core._sqlite_begin(connection, _READER, None)
            while rows := await stream.next():
                for row in rows:
                    yield row
        finally:
            _core._sqlite_release(connection)

    async def backup(self, path: str | os.PathLike[str]) -> None:
        """Copy the database to the file *path*, replacing what is there, from one snapshot.

        Readers and the writer go on meanwhile.

        Raises:
            ConfigurationError: *path* is the database itself.
            QueryError: the copy cannot be written.
        """
        await _core._sqlite_backup(self, _backup_path(self.path, path))

    async def ensure_indexes(self, statements: Iterable[str]) -> list[IndexReport]:
        """Create the indexes that are missing, one transaction each, so that writers get in between.

        Readers go on while an index is built. An index of the same name is left as it is.

        Args:
            statements: ``CREATE INDEX`` statements.

        Returns:
            One report a statement, in order.

        Raises:
            ConfigurationError: not a ``CREATE INDEX`` statement.
            QueryError: SQLite refused a statement for another reason than that the index is there.
        """
        reports = []
        for statement in statements:
            check_index_statement(statement)
            async with self.transaction() as connection:
                before = await connection.fetch(LIST_INDEXES)
                try:
                    async with connection.transaction():
                        await connection.execute(statement)
                except QueryError as error:
                    reports.append(report_existing(statement, before, error))
                else:
                    reports.append(report_created(statement, before, await connection.fetch(LIST_INDEXES)))
        return reports

    def stats(self) -> PoolStats:
        """The pool's figures at this moment."""
        counts = _core._sqlite_counts(self)
        kept = counts.pop("cache")
        asked = kept["hits"] + kept["misses"]
        cache = CacheStats(hit_rate=kept["hits"] / asked if asked else 0.0, **kept)
        return PoolStats(cache=cache, cache_bytes=cache.weight, **counts)

    def query_stats(self) -> list[QueryStats]:
        """Figures by statement, most total time first. At most 512 statements are remembered."""
        found = [QueryStats(**one) for one in _core._sqlite_query_totals(self)]
        return sorted(found, key=lambda one: one.total_seconds, reverse=True)

    def slow_log(self) -> list[SlowQuery]:
        """The last 256 executions over ``slow_query_threshold``, oldest first."""
        return [SlowQuery(**one) for one in _core._sqlite_slow(self)]

    def reset_query_stats(self) -> None:
        """Forget :meth:`query_stats` and :meth:`slow_log`."""
        _core._sqlite_reset_stats(self)


def _terminate_all() -> None:
    for pool in list(_open_pools):
        pool.terminate()


atexit.register(_terminate_all)
