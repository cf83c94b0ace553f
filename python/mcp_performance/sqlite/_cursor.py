"""Cursors and blobs of a :class:`Connection` that has a thread of its own."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterable
from contextlib import AbstractAsyncContextManager
from functools import update_wrapper
from types import TracebackType
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self, TypeVar

if TYPE_CHECKING:
    from ._connection import Connection

__all__ = ["Blob", "Cursor", "Pending", "pending"]

T = TypeVar("T")
S = TypeVar("S")
P = ParamSpec("P")


class Cursor:
    """A ``sqlite3.Cursor`` whose methods are awaited. Iterated with ``async for``, in portions."""

    def __init__(self, conn: Connection, cursor: sqlite3.Cursor) -> None:
        self.iter_chunk_size = conn._iter_chunk_size
        self._conn = conn
        self._cursor = cursor

    async def __aiter__(self) -> AsyncIterator[Any]:
        while rows := await self.fetchmany(self.iter_chunk_size):
            for row in rows:
                yield row

    async def execute(self, sql: str, parameters: Iterable[Any] | None = None) -> Self:
        """Run one statement."""
        await self._run(self._cursor.execute, sql, [] if parameters is None else parameters)
        return self

    async def executemany(self, sql: str, parameters: Iterable[Iterable[Any]]) -> Self:
        """Run one statement for each of the parameters."""
        await self._run(self._cursor.executemany, sql, parameters)
        return self

    async def executescript(self, sql_script: str) -> Self:
        """Commit, and run all statements of a script."""
        await self._run(self._cursor.executescript, sql_script)
        return self

    async def fetchone(self) -> Any:
        """The next row, or None."""
        return await self._run(self._cursor.fetchone)

    async def fetchmany(self, size: int | None = None) -> list[Any]:
        """The next rows, at most *size* or ``arraysize``."""
        rows: list[Any] = await self._run(self._cursor.fetchmany, *(() if size is None else (size,)))
        return rows

    async def fetchall(self) -> list[Any]:
        """All rows that are left."""
        rows: list[Any] = await self._run(self._cursor.fetchall)
        return rows

    async def setinputsizes(self, sizes: Any, /) -> None:
        """Required by the DB-API; does nothing, as in ``sqlite3``."""
        await self._run(self._cursor.setinputsizes, sizes)

    async def setoutputsize(self, size: Any, column: Any = None, /) -> None:
        """Required by the DB-API; does nothing, as in ``sqlite3``."""
        await self._run(self._cursor.setoutputsize, size, column)

    async def close(self) -> None:
        """Give up the rows that are left."""
        await self._run(self._cursor.close)

    @property
    def rowcount(self) -> int:
        """Rows changed by the last statement, -1 where it changes none."""
        return self._cursor.rowcount

    @property
    def lastrowid(self) -> int | None:
        """The row that was inserted last by this cursor."""
        return self._cursor.lastrowid

    @property
    def arraysize(self) -> int:
        """How many rows ``fetchmany()`` gets."""
        return self._cursor.arraysize

    @arraysize.setter
    def arraysize(self, value: int) -> None:
        self._cursor.arraysize = value

    @property
    def description(self) -> tuple[tuple[str, None, None, None, None, None, None], ...] | None:
        """The columns of the last statement, seven fields each of which the first is the name; or None."""
        return self._cursor.description

    @property
    def row_factory(self) -> Callable[..., Any] | None:
        """What makes the rows of this cursor: called with the ``sqlite3.Cursor`` and the tuple."""
        return self._cursor.row_factory

    @row_factory.setter
    def row_factory(self, factory: Callable[..., Any] | None) -> None:
        self._cursor.row_factory = factory

    @property
    def connection(self) -> sqlite3.Connection:
        """The connection of ``sqlite3`` below."""
        return self._cursor.connection

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _run(self, function: Callable[..., Any], *args: Any) -> Any:
        return await self._conn._execute(function, *args)


class Blob:
    """A ``sqlite3.Blob`` whose methods are awaited: a large value that is read and written in pieces."""

    def __init__(self, conn: Connection, blob: sqlite3.Blob) -> None:
        self._conn = conn
        self._blob = blob

    async def read(self, length: int = -1, /) -> bytes:
        """The next *length* bytes; all that are left where it is negative."""
        data: bytes = await self._conn._execute(self._blob.read, length)
        return data

    async def write(self, data: bytes, /) -> None:
        """Overwrite at the offset. A blob keeps its length."""
        await self._conn._execute(self._blob.write, data)

    async def seek(self, offset: int, origin: int = 0, /) -> None:
        """Set the offset, as ``io`` counts it."""
        await self._conn._execute(self._blob.seek, offset, origin)

    async def tell(self) -> int:
        """The offset."""
        offset: int = await self._conn._execute(self._blob.tell)
        return offset

    async def length(self) -> int:
        """Bytes in all."""
        count: int = await self._conn._execute(self._blob.__len__)
        return count

    async def close(self) -> None:
        """Close it. Other methods fail from here on."""
        await self._conn._execute(self._blob.close)

    async def __aenter__(self) -> Self:
        await self._conn._execute(self._blob.__enter__)  # which refuses one that is closed
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class Pending(AbstractAsyncContextManager[T], Coroutine[Any, Any, T]):
    """A coroutine that can also be entered: ``await execute(...)`` or ``async with execute(...) as cursor``.

    Leaving the block closes what can be closed: a cursor, a blob.
    """

    __slots__ = ("_coroutine", "_entered")

    def __init__(self, coroutine: Coroutine[Any, Any, T]) -> None:
        self._coroutine = coroutine
        self._entered: T | None = None

    def send(self, value: Any) -> Any:
        return self._coroutine.send(value)

    def throw(self, kind: Any, value: Any = None, traceback: TracebackType | None = None) -> Any:
        error = kind if value is None else value
        if isinstance(error, type):
            error = error()
        return self._coroutine.throw(error if traceback is None else error.with_traceback(traceback))

    def close(self) -> None:
        self._coroutine.close()

    def __await__(self) -> Generator[Any, None, T]:
        return self._coroutine.__await__()

    async def __aenter__(self) -> T:
        self._entered = await self._coroutine
        return self._entered

    async def __aexit__(self, *_: object) -> None:
        if isinstance(self._entered, (Cursor, Blob)):
            await self._entered.close()


def pending(
    method: Callable[Concatenate[S, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[S, P], Pending[T]]:
    """Let what the coroutine function *method* returns be entered too."""

    def wrapper(self: S, /, *args: P.args, **kwargs: P.kwargs) -> Pending[T]:
        return Pending(method(self, *args, **kwargs))

    return update_wrapper(wrapper, method)
