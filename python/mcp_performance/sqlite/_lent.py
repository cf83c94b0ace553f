"""Connections of Python's own ``sqlite3`` to the database of a pool."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from .. import _core
from ._connection import Connection
from ._library import check_may_lend

if TYPE_CHECKING:
    from ._pool import SQLitePool

__all__ = ["Lending", "LentConnection"]


@dataclass(frozen=True, slots=True)
class Lending:
    """The settings of a pool that a connection of ``sqlite3`` shares."""

    synchronous: str
    cache_pages: int
    busy_timeout: float
    init: Callable[[Any], object] | None

    def open(self, path: str, options: Mapping[str, Any]) -> sqlite3.Connection:
        """A connection to *path*, set up as the pool's own are."""
        connection: sqlite3.Connection = sqlite3.connect(
            path,
            uri=path.startswith("file:"),
            **{"timeout": self.busy_timeout, "check_same_thread": False, **options},
        )
        try:
            level = connection.isolation_level
            connection.isolation_level = None
            connection.execute(f"PRAGMA synchronous={self.synchronous}").close()
            connection.execute(f"PRAGMA cache_size={self.cache_pages}").close()
            connection.execute("PRAGMA temp_store=MEMORY").close()
            if self.init is not None:
                self.init(_NewConnection(connection))
            if connection.in_transaction:
                connection.execute("ROLLBACK").close()
            connection.isolation_level = level
        except BaseException:
            connection.close()
            raise
        return connection


class _NewConnection:
    """What a pool's ``init=`` is called with."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def execute(self, sql: str, params: Sequence[Any] | Mapping[str, Any] = ()) -> list[Any]:
        with closing(self._connection.execute(sql, params)) as cursor:
            return cursor.fetchall()

    def create_function(
        self, name: str, arguments: int, function: Callable[..., Any], *, deterministic: bool = False
    ) -> None:
        self._connection.create_function(name, arguments, function, deterministic=deterministic)

    def create_collation(self, name: str, order: Callable[[str, str], int]) -> None:
        self._connection.create_collation(name, order)


class LentConnection(Connection):
    """A :class:`Connection` to the database of a pool."""

    def __init__(self, pool: SQLitePool, iter_chunk_size: int, options: Mapping[str, Any]) -> None:
        super().__init__(self._connect, iter_chunk_size)
        self._pool = pool
        self._options = options
        self._path = ""
        self._identity: tuple[int, int] | None = None

    def _connect(self) -> sqlite3.Connection:
        return self._pool._lending.open(self._path, self._options)

    async def _open(self) -> Self:
        check_may_lend()
        await _core._sqlite_open(self._pool)
        self._path = _core._sqlite_lend_database(self._pool)
        await super()._open()
        self._identity = _identity(self._file)
        return self

    async def _execute(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if self._identity is not None and _identity(self._file) != self._identity:
            raise sqlite3.OperationalError(
                f"the database file {self._file!r} was replaced: close this connection and open another"
            )
        return await super()._execute(fn, *args, **kwargs)


def _identity(file: str) -> tuple[int, int] | None:
    if not file:
        return None
    try:
        found = os.stat(file)
    except OSError:
        return (0, 0)
    return found.st_dev, found.st_ino
