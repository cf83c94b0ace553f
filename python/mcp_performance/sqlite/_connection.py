"""A connection of Python's own ``sqlite3`` on a thread of its own, with methods that are awaited.

All that ``sqlite3`` has works as it does there, and raises what it raises there. Commits of such a
connection are those of a stranger to a :class:`SQLitePool` on the same file: its cached results are void
from the next commit on.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import warnings
from collections.abc import AsyncIterator, Callable, Generator, Iterable
from functools import partial
from queue import SimpleQueue
from threading import Thread
from typing import Any, Concatenate, Literal, ParamSpec, Self, TypedDict, TypeVar, Unpack

from .. import _core
from ._cursor import Blob, Cursor, pending
from ._worker import STOP, Job, work

__all__ = ["ConnectOptions", "Connection", "ConnectionClosed", "connect"]

T = TypeVar("T")
P = ParamSpec("P")

_SERIALIZED = 3  # a connection may be used from any thread
_LINES = 256  # of a dump, on their way to the loop together


class ConnectOptions(TypedDict, total=False):
    """Of ``sqlite3.connect()``."""

    timeout: float
    detect_types: int
    isolation_level: Literal["DEFERRED", "IMMEDIATE", "EXCLUSIVE"] | None
    check_same_thread: bool
    factory: type[sqlite3.Connection]
    cached_statements: int
    uri: bool
    autocommit: bool | int  # Python 3.12 and newer


class ConnectionClosed(sqlite3.ProgrammingError, ValueError):
    """The connection is closed, or was never opened: a class of ``sqlite3`` and that of ``aiosqlite``."""


class Connection:
    """A ``sqlite3.Connection`` whose methods are awaited. They run one after the other, on its thread.

    Made by :func:`connect` or :meth:`SQLitePool.connection`; opened by ``await`` or ``async with``.
    """

    # What it raises, for code that has the connection and not the module.
    Warning = sqlite3.Warning
    Error = sqlite3.Error
    InterfaceError = sqlite3.InterfaceError
    DatabaseError = sqlite3.DatabaseError
    DataError = sqlite3.DataError
    OperationalError = sqlite3.OperationalError
    IntegrityError = sqlite3.IntegrityError
    InternalError = sqlite3.InternalError
    ProgrammingError = sqlite3.ProgrammingError
    NotSupportedError = sqlite3.NotSupportedError

    def __init__(
        self,
        connector: Callable[[], sqlite3.Connection],
        iter_chunk_size: int,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._running = True
        self._connection: sqlite3.Connection | None = None
        self._connector = connector
        self._tx: SimpleQueue[Job] = SimpleQueue()
        self._iter_chunk_size = iter_chunk_size
        self._thread = Thread(target=work, args=(self._tx,), name="mcp-sqlite3", daemon=True)
        self._file = ""
        self._holds: list[_core._SQLiteForkHold] = []
        if loop is not None:
            warnings.warn("a connection takes no loop any more", DeprecationWarning, stacklevel=3)

    def __del__(self) -> None:
        if getattr(self, "_connection", None) is None:
            return
        warnings.warn(
            f"{self!r} was deleted before being closed: use 'async with' or 'await close()'",
            ResourceWarning,
            source=self,
            stacklevel=1,
        )
        self._running = False
        self._tx.put((None, partial(_close, self._connection, self._holds)))

    # ---- its life ----

    def __await__(self) -> Generator[Any, None, Self]:
        return self._open().__await__()

    async def __aenter__(self) -> Self:
        return await self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _open(self) -> Self:
        if self._connection is None:
            self._thread.start()
            try:
                future = asyncio.get_running_loop().create_future()
                self._tx.put((future, partial(_open, self._connector)))
                self._connection, self._file = await future
            except BaseException:
                self.stop()
                raise
            self._holds.append(_core._SQLiteForkHold(os.fsencode(self._file)))
        return self

    def stop(self) -> asyncio.Future[Any] | None:
        """Close the connection and end its thread, without waiting: ``await close()`` waits.

        Returns:
            A future that is done when it is closed; None where no loop runs, or where it was stopped before.
        """
        if not self._running:
            return None
        self._running = False
        try:
            future = asyncio.get_running_loop().create_future()
        except RuntimeError:
            future = None
        connection, self._connection = self._connection, None
        self._tx.put((future, partial(_close, connection, self._holds)))
        return future

    async def close(self) -> None:
        """Finish what was asked for, and close. What was not committed is rolled back."""
        if self._connection is None:
            return
        try:
            await Connection._execute(self, self._connection.close)
        finally:
            stopped = self.stop()
            if stopped is not None:
                await stopped

    @property
    def _conn(self) -> sqlite3.Connection:
        if self._connection is None:
            raise ConnectionClosed("no active connection")
        return self._connection

    async def _execute(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Run *fn* on the thread."""
        if not self._running or self._connection is None:
            raise ConnectionClosed("Connection closed")
        future = asyncio.get_running_loop().create_future()
        self._tx.put((future, partial(fn, *args, **kwargs)))
        return await future

    async def run(
        self, function: Callable[Concatenate[sqlite3.Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call *function* on the thread, with the ``sqlite3.Connection`` before the arguments.

        For all of ``sqlite3`` that has no method here, and for several steps at the price of one.
        """
        found: T = await self._execute(function, self._conn, *args, **kwargs)
        return found

    # ---- statements ----

    @pending
    async def cursor(
        self, factory: Callable[[sqlite3.Connection], sqlite3.Cursor] = sqlite3.Cursor
    ) -> Cursor:
        """A new cursor, over one that *factory* makes: a subclass of ``sqlite3.Cursor``."""
        return Cursor(self, await self._execute(self._conn.cursor, factory))

    @pending
    async def execute(self, sql: str, parameters: Iterable[Any] | None = None) -> Cursor:
        """Run one statement on a new cursor."""
        found = await self._execute(self._conn.execute, sql, [] if parameters is None else parameters)
        return Cursor(self, found)

    @pending
    async def execute_insert(self, sql: str, parameters: Iterable[Any] | None = None) -> Any:
        """Run one INSERT, and get a row of the rowid that was inserted last."""
        return await self._execute(_insert, self._conn, sql, [] if parameters is None else parameters)

    @pending
    async def execute_fetchall(self, sql: str, parameters: Iterable[Any] | None = None) -> list[Any]:
        """Run one statement, and get all of its rows."""
        rows: list[Any] = await self._execute(
            _fetch_all, self._conn, sql, [] if parameters is None else parameters
        )
        return rows

    @pending
    async def executemany(self, sql: str, parameters: Iterable[Iterable[Any]]) -> Cursor:
        """Run one statement for each of the parameters."""
        return Cursor(self, await self._execute(self._conn.executemany, sql, parameters))

    @pending
    async def executescript(self, sql_script: str) -> Cursor:
        """Commit, and run all statements of a script."""
        return Cursor(self, await self._execute(self._conn.executescript, sql_script))

    async def commit(self) -> None:
        """Commit the transaction that is open, if any."""
        await self._execute(self._conn.commit)

    async def rollback(self) -> None:
        """Undo the transaction that is open, if any."""
        await self._execute(self._conn.rollback)

    async def interrupt(self) -> None:
        """Stop the statement that runs: its caller gets ``sqlite3.OperationalError``."""
        self._conn.interrupt()

    # ---- what SQL can call, and who is told ----

    async def create_function(
        self, name: str, num_params: int, func: Callable[..., Any] | None, deterministic: bool = False
    ) -> None:
        """Let SQL call *func*, which runs on the connection's thread; None takes it away."""
        await self._execute(self._conn.create_function, name, num_params, func, deterministic=deterministic)

    async def create_aggregate(self, name: str, num_params: int, factory: Callable[[], Any] | None) -> None:
        """An aggregate: a class with ``step()`` and ``finalize()``."""
        await self._execute(self._conn.create_aggregate, name, num_params, factory)

    async def create_window_function(
        self, name: str, num_params: int, factory: Callable[[], Any] | None
    ) -> None:
        """A window function: a class with ``step()``, ``inverse()``, ``value()`` and ``finalize()``."""
        await self._execute(self._conn.create_window_function, name, num_params, factory)

    async def create_collation(self, name: str, order: Callable[[str, str], int] | None) -> None:
        """An order of texts: negative, 0 or positive for two of them."""
        await self._execute(self._conn.create_collation, name, order)

    async def set_progress_handler(self, handler: Callable[[], int | None] | None, n: int) -> None:
        """Call *handler* every *n* instructions; what is true stops the statement."""
        await self._execute(self._conn.set_progress_handler, handler, n)

    async def set_trace_callback(self, handler: Callable[[str], object] | None) -> None:
        """Call *handler* with each statement that runs."""
        await self._execute(self._conn.set_trace_callback, handler)

    async def set_authorizer(self, authorizer_callback: Callable[..., int] | None) -> None:
        """Ask *authorizer_callback* while statements are prepared; None asks nobody."""
        await self._execute(self._conn.set_authorizer, authorizer_callback)

    async def enable_load_extension(self, value: bool) -> None:
        """Allow :meth:`load_extension`, which is refused otherwise."""
        await self._execute(self._attribute("enable_load_extension"), value)

    async def load_extension(self, path: str, *, entrypoint: str | None = None) -> None:
        """Load a shared library with functions for SQL.

        Args:
            entrypoint: its function to call. Python 3.12 and newer have it.
        """
        options = {} if entrypoint is None else {"entrypoint": entrypoint}
        await self._execute(self._attribute("load_extension"), path, **options)

    # ---- all of the database ----

    async def iterdump(self, *, filter: str | None = None) -> AsyncIterator[str]:
        """The database as SQL text, a statement at a time; other work of the connection waits meanwhile.

        Args:
            filter: a pattern of LIKE for the names of what is dumped. Python 3.13 and newer have it.
        """
        options: Any = {} if filter is None else {"filter": filter}
        loop = asyncio.get_running_loop()
        parts: asyncio.Queue[list[str] | None] = asyncio.Queue()
        left = False
        connection = self._conn

        def dump() -> None:
            lines: list[str] = []
            try:
                for line in connection.iterdump(**options):
                    if left:
                        return
                    lines.append(line)
                    if len(lines) == _LINES:
                        loop.call_soon_threadsafe(parts.put_nowait, lines)
                        lines = []
            finally:
                loop.call_soon_threadsafe(parts.put_nowait, lines)
                loop.call_soon_threadsafe(parts.put_nowait, None)

        dumped = asyncio.ensure_future(self._execute(dump))
        try:
            while (lines := await parts.get()) is not None:
                for line in lines:
                    yield line
        finally:
            left = True
            await dumped

    async def backup(
        self,
        target: Connection | sqlite3.Connection,
        *,
        pages: int = 0,
        progress: Callable[[int, int, int], object] | None = None,
        name: str = "main",
        sleep: float = 0.250,
    ) -> None:
        """Copy the database *name* into *target*, *pages* at a time (0: all at once).

        Args:
            progress: called on the connection's thread with SQLite's status, the pages left, and all.
            sleep: seconds between two tries.
        """
        into = target._conn if isinstance(target, Connection) else target
        await self._execute(self._conn.backup, into, pages=pages, progress=progress, name=name, sleep=sleep)

    @pending
    async def blobopen(
        self, table: str, column: str, row: int, /, *, readonly: bool = False, name: str = "main"
    ) -> Blob:
        """A handle of one value, to read and write it in pieces."""
        blob = await self._execute(self._conn.blobopen, table, column, row, readonly=readonly, name=name)
        return Blob(self, blob)

    async def serialize(self, *, name: str = "main") -> bytes:
        """The database as the bytes of its file."""
        data: bytes = await self._execute(self._conn.serialize, name=name)
        return data

    async def deserialize(self, data: bytes, /, *, name: str = "main") -> None:
        """Put a database in memory in the place of this one, from the bytes of a file."""
        await self._execute(self._conn.deserialize, data, name=name)

    # ---- settings ----

    async def getlimit(self, category: int, /) -> int:
        """One of SQLite's limits, by ``sqlite3.SQLITE_LIMIT_...``."""
        limit: int = await self._execute(self._conn.getlimit, category)
        return limit

    async def setlimit(self, category: int, limit: int, /) -> int:
        """Lower one of SQLite's limits, and get what it was; a negative *limit* changes nothing."""
        former: int = await self._execute(self._conn.setlimit, category, limit)
        return former

    async def getconfig(self, op: int, /) -> bool:
        """Whether ``sqlite3.SQLITE_DBCONFIG_...`` is on. Python 3.12 and newer have it."""
        value: bool = await self._execute(self._attribute("getconfig"), op)
        return value

    async def setconfig(self, op: int, enable: bool = True, /) -> None:
        """Turn ``sqlite3.SQLITE_DBCONFIG_...`` on or off. Python 3.12 and newer have it."""
        await self._execute(self._attribute("setconfig"), op, enable)

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open."""
        return self._conn.in_transaction

    @property
    def isolation_level(self) -> str | None:
        """How transactions begin by themselves: None for not at all."""
        return self._conn.isolation_level

    @isolation_level.setter
    def isolation_level(self, value: Any) -> None:
        self._conn.isolation_level = value

    @property
    def row_factory(self) -> Any:
        """What makes the rows: called with the ``sqlite3.Cursor`` and the tuple."""
        return self._conn.row_factory

    @row_factory.setter
    def row_factory(self, factory: Any) -> None:
        self._conn.row_factory = factory

    @property
    def text_factory(self) -> Callable[[bytes], Any]:
        """What makes the texts: called with their bytes."""
        factory: Callable[[bytes], Any] = self._conn.text_factory
        return factory

    @text_factory.setter
    def text_factory(self, factory: Callable[[bytes], Any]) -> None:
        self._conn.text_factory = factory

    @property
    def autocommit(self) -> Any:
        """``sqlite3.Connection.autocommit``, which Python 3.12 and newer have."""
        return self._attribute("autocommit")

    @autocommit.setter
    def autocommit(self, value: Any) -> None:
        self._attribute("autocommit")
        vars_of: Any = self._conn
        vars_of.autocommit = value

    def _attribute(self, name: str) -> Any:
        try:
            return getattr(self._conn, name)
        except AttributeError:
            raise AttributeError(
                f"{name}: the sqlite3 of this Python has no such attribute", name=name, obj=self
            ) from None

    @property
    def total_changes(self) -> int:
        """Rows changed since the connection was opened."""
        return self._conn.total_changes


def _open(connector: Callable[[], sqlite3.Connection]) -> tuple[sqlite3.Connection, str]:
    connection = connector()
    try:
        return connection, _file_of(connection)
    except BaseException:
        connection.close()
        raise


def _file_of(connection: sqlite3.Connection) -> str:
    """The path of its database, or "". By the methods of sqlite3 itself: a subclass may have others."""
    factory, connection.text_factory = connection.text_factory, bytes
    try:
        cursor = sqlite3.Connection.cursor(connection, sqlite3.Cursor)
        cursor.row_factory = None
        files = [file for _, name, file in cursor.execute("PRAGMA database_list") if name == b"main"]
    finally:
        connection.text_factory = factory
    return os.fsdecode(files[0] or b"")


def _close(connection: sqlite3.Connection | None, holds: list[_core._SQLiteForkHold]) -> object:
    """The last job: the file is held until the connection is closed."""
    try:
        if connection is not None:
            connection.close()
    except sqlite3.Error as error:
        warnings.warn(f"a connection could not be closed: {error}", ResourceWarning, stacklevel=1)
    holds.clear()
    return STOP


def _insert(connection: sqlite3.Connection, sql: str, parameters: Any) -> Any:
    cursor = connection.execute(sql, parameters)
    cursor.execute("SELECT last_insert_rowid()")
    return cursor.fetchone()


def _fetch_all(connection: sqlite3.Connection, sql: str, parameters: Any) -> list[Any]:
    return connection.execute(sql, parameters).fetchall()


def connect(
    database: str | bytes | os.PathLike[str],
    *,
    iter_chunk_size: int = 64,
    loop: asyncio.AbstractEventLoop | None = None,
    **options: Unpack[ConnectOptions],
) -> Connection:
    """A connection to *database*, to be awaited or entered.

    Args:
        iter_chunk_size: rows that a cursor gets at a time when it is iterated.
        options: of ``sqlite3.connect()``.
    """
    options.setdefault("check_same_thread", sqlite3.threadsafety < _SERIALIZED)
    return Connection(partial(sqlite3.connect, os.fsdecode(database), **options), iter_chunk_size, loop)
