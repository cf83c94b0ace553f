"""The pool for code without an event loop."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self, Unpack

from .. import _core
from .._base._checks import file_name, flag, several
from ..errors import ConfigurationError, PoolTimeout, QueryError
from ._borrowed import ANY, READ, READER, WRITE, BlockingConnection
from ._connection import ConnectOptions
from ._indexes import LIST_INDEXES, IndexReport, check_index_statement, report_created, report_existing
from ._library import check_may_lend
from ._statements import BlockingStatements, Params, Row, RowTypeName

if TYPE_CHECKING:
    from ._pool import SQLitePool

__all__ = ["BlockingPool", "backup_path", "still_held"]


def backup_path(source: str, path: str | os.PathLike[str]) -> str:
    text = file_name("path", path)
    if os.path.exists(text) and os.path.exists(source) and os.path.samefile(text, source):
        raise ConfigurationError(f"path={path!r}: is the database itself")
    return text


def still_held(pool: _core.SQLiteEndpoint, seconds: float) -> PoolTimeout:
    held = _core._sqlite_held_for(pool)
    texts = [" ".join(sql.split()) for sql in held]
    shown = [
        repr(sql if len(sql) <= 200 else f"{sql[:200]}...") if sql else "no statement yet" for sql in texts
    ]
    return PoolTimeout(
        f"close: after {seconds:g} s {len(held)} of the connections are still in use, "
        f"last for: {', '.join(shown)}"
    )


class BlockingPool(BlockingStatements[Row]):
    """The pool for code without an event loop: the same methods, without ``await``. Safe from any thread.

    Statements run on the thread that calls; ``with pool.blocking:`` closes the pool at its end.
    """

    def __init__(self, pool: SQLitePool[Row]) -> None:
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
            raise still_held(self, limit)

    @contextmanager
    def acquire(self, *, timeout: float | None = None) -> Iterator[BlockingConnection[Row]]:
        """One connection, for the length of the block."""
        connection: BlockingConnection[Row] = BlockingConnection(self._pool)
        _core._sqlite_begin(connection, ANY, timeout)
        try:
            yield connection
        finally:
            _core._sqlite_release(connection)

    @contextmanager
    def transaction(
        self, readonly: bool = False, *, timeout: float | None = None
    ) -> Iterator[BlockingConnection[Row]]:
        """A transaction, for the length of the block: committed at its end, undone when it raises."""
        flag("readonly", readonly)
        connection: BlockingConnection[Row] = BlockingConnection(self._pool)
        _core._sqlite_begin(connection, READ if readonly else WRITE, timeout)
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
    def connection(self, **options: Unpack[ConnectOptions]) -> Iterator[sqlite3.Connection]:
        """A ``sqlite3.Connection`` to this database, for the length of the block.

        See :meth:`SQLitePool.connection`.
        """
        check_may_lend()
        _core._sqlite_open(self)
        connection = self._pool._lending.open(_core._sqlite_lend_database(self), options)
        hold = _core._SQLiteForkHold(os.fsencode(self._pool.path))
        try:
            yield connection
        finally:
            connection.close()
            del hold

    def _stream(self, sql: str, params: Params, row_type: RowTypeName | None) -> Generator[Any, None, None]:
        connection: BlockingConnection[Row] = BlockingConnection(self._pool)
        try:
            stream = _core._sqlite_stream(connection, sql, params, row_type)
            _core._sqlite_begin(connection, READER, None)
            while rows := stream.next():
                yield from rows
        finally:
            _core._sqlite_release(connection)

    def backup(self, path: str | os.PathLike[str]) -> None:
        """As :meth:`SQLitePool.backup`."""
        _core._sqlite_backup(self, backup_path(self._pool.path, path))

    def ensure_indexes(self, statements: Iterable[str]) -> list[IndexReport]:
        """As :meth:`SQLitePool.ensure_indexes`."""
        reports = []
        for statement in several("statements", statements, "CREATE INDEX statements"):
            check_index_statement(statement)
            with self.transaction() as connection:
                before = connection.fetch(LIST_INDEXES, row_type="tuple")
                try:
                    with connection.transaction():
                        connection.execute(statement)
                except QueryError as error:
                    reports.append(report_existing(statement, before, error))
                else:
                    reports.append(
                        report_created(statement, before, connection.fetch(LIST_INDEXES, row_type="tuple"))
                    )
        return reports
