"""The pool."""

from __future__ import annotations

import asyncio
import atexit
import os
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from functools import cached_property
from types import TracebackType
from typing import Any, Literal, Self, Unpack, overload

from .. import _core, config
from .._base import _logging
from .._base._checks import file_name, flag, integer, optional_text, several
from .._base._registry import register_pool
from .._base._stats import CacheStats
from ..errors import QueryError
from ._adapters import AdapterName
from ._blocking import BlockingPool, backup_path, still_held
from ._borrowed import ANY, READ, READER, WRITE, Connection
from ._connection import ConnectOptions
from ._indexes import LIST_INDEXES, IndexReport, check_index_statement, report_created, report_existing
from ._lent import Lending, LentConnection
from ._library import keep_apart
from ._options import PoolOptions, Synchronous, checked_settings, place_of
from ._rows import NamedRow
from ._statements import AsyncStatements, Params, Row, RowTypeName
from ._stats import PoolStats, QueryStats, SlowQuery

__all__ = ["SQLitePool"]

_open_pools: weakref.WeakSet[SQLitePool[Any]] = weakref.WeakSet()


class SQLitePool(AsyncStatements[Row]):
    """A fixed set of connections to one SQLite database: one writer, the others readers.

    Safe from any thread and any event loop. A statement runs on any of the connections, so one that would
    change the connection (a PRAGMA that sets, a temporary table, ATTACH) needs :meth:`acquire` or *init*; a
    connection that was changed is replaced when it is given back. If the database file is replaced or
    deleted, statements that begin 2 us or more after that see the new one; transactions under way fail.
    So it is if the file is written over (``cp``), or its ``-wal`` or ``-shm`` deleted (1 ms).

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
            type of its column: BOOL or BOOLEAN, DATE, DATETIME or TIMESTAMP, DECIMAL or NUMERIC, JSON, UUID;
            one that is not of that type is a :exc:`ConversionError`.
            With ``"json"`` results are not cached, because they can be changed. ``"decimal"`` takes what
            every column keeps, 15 digits, and refuses longer ones: SQLite stores a text that looks like a
            number as a float in columns of NUMERIC, INTEGER and REAL affinity, and DECIMAL is one of the
            first. ``"decimal_text"`` takes all digits, for columns that keep texts: declare them
            ``DECIMAL_TEXT``; a number that comes out of a DECIMAL column is an error then.
        tracking: keep the figures of :meth:`query_stats` and :meth:`slow_log`.
        name: what reports call the pool; its path by default.

    Raises:
        ConfigurationError: a bad argument.
        DatabaseError: Python's ``sqlite3`` has a copy of SQLite of its own, and has this file open.
    """

    _is_guarded = False

    @overload
    def __init__(
        self: SQLitePool[tuple[Any, ...]],
        path: str | os.PathLike[str],
        size: int | None = None,
        *,
        row_type: Literal["tuple"] = "tuple",
        **options: Unpack[PoolOptions],
    ) -> None: ...
    @overload
    def __init__(
        self: SQLitePool[NamedRow],
        path: str | os.PathLike[str],
        size: int | None = None,
        *,
        row_type: Literal["named"],
        **options: Unpack[PoolOptions],
    ) -> None: ...
    @overload
    def __init__(
        self: SQLitePool[dict[str, Any]],
        path: str | os.PathLike[str],
        size: int | None = None,
        *,
        row_type: Literal["dict"],
        **options: Unpack[PoolOptions],
    ) -> None: ...
    @overload
    def __init__(
        self: SQLitePool[Any],
        path: str | os.PathLike[str],
        size: int | None = None,
        *,
        row_type: RowTypeName,
        **options: Unpack[PoolOptions],
    ) -> None: ...
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
        synchronous: Synchronous = "FULL",
        row_type: RowTypeName = "tuple",
        init: Callable[[_core.SQLiteNewConnection], object] | None = None,
        adapters: Iterable[AdapterName] = (),
        tracking: bool = True,
        name: str | None = None,
    ) -> None:
        text = file_name("path", path)
        settings = checked_settings(
            size=size,
            cache_pages=cache_pages,
            wal=wal,
            query_cache_ttl=query_cache_ttl,
            slow_query_threshold=slow_query_threshold,
            query_cache_bytes=query_cache_bytes,
            busy_timeout=busy_timeout,
            acquire_timeout=acquire_timeout,
            inline_budget=inline_budget,
            synchronous=synchronous,
            row_type=row_type,
            init=init,
            adapters=adapters,
            tracking=tracking,
        )
        _core._sqlite_configure(self, {**place_of(text), **settings, "guarded": self._is_guarded})
        self._lending = Lending(
            synchronous, config.DB_CACHE_SIZE if cache_pages is None else cache_pages, busy_timeout, init
        )
        self.name = optional_text("name", name) or text
        self.path = text
        _logging.deliver_native_logs()
        keep_apart(self)
        register_pool(self)
        if not self._is_guarded:  # which its owner closes
            _open_pools.add(self)

    def __repr__(self) -> str:
        return f"<SQLitePool {self.name!r}>"

    @cached_property
    def blocking(self) -> BlockingPool[Row]:
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
            raise still_held(self, limit) from None

    def terminate(self) -> None:
        """Close at once: what waits fails with :class:`PoolClosed`, what runs is stopped and rolled back."""
        _core._sqlite_terminate(self)

    @property
    def closed(self) -> bool:
        """Whether the pool refuses new work."""
        return _core._sqlite_closed(self)

    @asynccontextmanager
    async def acquire(self, *, timeout: float | None = None) -> AsyncIterator[Connection[Row]]:  # noqa: ASYNC109
        """One connection, for the length of the block.

        Raises:
            PoolTimeout: none came free in time.
        """
        connection: Connection[Row] = Connection(self)
        try:
            await _core._sqlite_begin(connection, ANY, timeout)
            yield connection
        finally:
            _core._sqlite_release(connection)

    @asynccontextmanager
    async def transaction(
        self,
        readonly: bool = False,
        *,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> AsyncIterator[Connection[Row]]:
        """A transaction, for the length of the block: committed at its end, undone when it raises.

        Args:
            readonly: one snapshot on a reader, beside the writer.
            timeout: seconds to wait for the connection and for other processes' locks.

        Raises:
            PoolTimeout: the connection or the database's lock was not had in time.
        """
        flag("readonly", readonly)
        connection: Connection[Row] = Connection(self)
        try:
            await _core._sqlite_begin(connection, READ if readonly else WRITE, timeout)
            try:
                yield connection
            except BaseException:
                await _core._sqlite_end(connection, False)
                raise
            await _core._sqlite_end(connection, True)
        finally:
            _core._sqlite_release(connection)

    def connection(self, *, iter_chunk_size: int = 64, **options: Unpack[ConnectOptions]) -> LentConnection:
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

    async def _stream(
        self, sql: str, params: Params, row_type: RowTypeName | None
    ) -> AsyncGenerator[Any, None]:
        connection: Connection[Row] = Connection(self)
        try:
            stream = _core._sqlite_stream(connection, sql, params, row_type)
            await _core._sqlite_begin(connection, READER, None)
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
        await _core._sqlite_backup(self, backup_path(self.path, path))

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
        for statement in several("statements", statements, "CREATE INDEX statements"):
            check_index_statement(statement)
            async with self.transaction() as connection:
                before = await connection.fetch(LIST_INDEXES, row_type="tuple")
                try:
                    async with connection.transaction():
                        await connection.execute(statement)
                except QueryError as error:
                    reports.append(report_existing(statement, before, error))
                else:
                    reports.append(
                        report_created(
                            statement, before, await connection.fetch(LIST_INDEXES, row_type="tuple")
                        )
                    )
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
