"""What ``aiosqlite`` has, under the same names: change the import, and the rest of a project stays.

::

    from mcp_performance import aiosqlite

    async with aiosqlite.connect("app.db") as db:
        async with db.execute("SELECT name FROM users WHERE id = ?", (7,)) as cursor:
            row = await cursor.fetchone()

Each connection is one of Python's own ``sqlite3``, on a thread of its own, as it is there: what it does,
returns and raises is what ``sqlite3`` does. Beside what ``aiosqlite`` has, it has all else that a
``sqlite3.Connection``, its cursors and its blobs have (``create_aggregate``, ``create_window_function``,
``create_collation``, ``blobopen``, ``serialize``, ``setlimit``, ``autocommit``, ...), and ``run``.
Connections that are not closed do not keep the process from ending.

For speed use :class:`mcp_performance.SQLitePool`, whose ``connection()`` gives a connection of this kind
where one is needed.
"""

from __future__ import annotations

from sqlite3 import (
    PARSE_COLNAMES,
    PARSE_DECLTYPES,
    DatabaseError,
    DataError,
    Error,
    IntegrityError,
    InterfaceError,
    InternalError,
    NotSupportedError,
    OperationalError,
    ProgrammingError,
    Row,
    Warning,
    paramstyle,
    register_adapter,
    register_converter,
    sqlite_version,
    sqlite_version_info,
)

from ._core import __version__
from .sqlite._connection import Connection, ConnectionClosed, connect
from .sqlite._cursor import Blob, Cursor

__all__ = [
    "PARSE_COLNAMES",
    "PARSE_DECLTYPES",
    "Blob",
    "Connection",
    "ConnectionClosed",
    "Cursor",
    "DataError",
    "DatabaseError",
    "Error",
    "IntegrityError",
    "InterfaceError",
    "InternalError",
    "NotSupportedError",
    "OperationalError",
    "ProgrammingError",
    "Row",
    "Warning",
    "__version__",
    "connect",
    "paramstyle",
    "register_adapter",
    "register_converter",
    "sqlite_version",
    "sqlite_version_info",
]
