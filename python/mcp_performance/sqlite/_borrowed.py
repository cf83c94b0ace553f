"""Connections that were taken from a pool, for code with an event loop and without."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Self

from .. import _core
from ._statements import AsyncStatements, BlockingStatements, Params, Row, RowTypeName

__all__ = ["ANY", "READ", "READER", "WRITE", "BlockingConnection", "Connection"]

# What a connection is taken for.
ANY, READ, WRITE, READER = _core.SQLITE_ANY, _core.SQLITE_READ, _core.SQLITE_WRITE, _core.SQLITE_READER


class Session(_core.SQLiteEndpoint):
    """What the connections of both kinds share: one connection, and how deep its transactions nest."""

    def __init__(self, pool: _core.SQLiteEndpoint, blocking: bool) -> None:
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


class Connection(Session, AsyncStatements[Row]):
    """One connection of a pool, for as long as the block that it came from.

    It has the pool's ``fetch``, ``fetchrow``, ``fetchval``, ``execute``, ``executemany`` and ``stream``. A
    connection from :meth:`SQLitePool.acquire` reads on a reader until its first statement that writes; from
    then on it is the pool's one writer. A stream that is open then goes on where it began, on its snapshot.
    """

    def __init__(self, pool: _core.SQLiteEndpoint) -> None:
        super().__init__(pool, blocking=False)

    async def _stream(
        self, sql: str, params: Params, row_type: RowTypeName | None
    ) -> AsyncGenerator[Any, None]:
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


class BlockingConnection(Session, BlockingStatements[Row]):
    """The twin of :class:`Connection` for code without an event loop."""

    def __init__(self, pool: _core.SQLiteEndpoint) -> None:
        super().__init__(pool, blocking=True)

    def _stream(self, sql: str, params: Params, row_type: RowTypeName | None) -> Generator[Any, None, None]:
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
