"""Which copy of SQLite this process has, and what two copies may not do.

SQLite keeps its locks on a file in tables of the library. Two copies of it in one process do not see each
other's, and the one that closes a file drops the POSIX locks of the other: the database is corrupted.
"""

from __future__ import annotations

import _sqlite3
import sqlite3
import warnings
from functools import lru_cache

from .. import _core
from ..errors import DatabaseError

__all__ = ["check_may_lend", "check_shared_library", "is_shared"]


@lru_cache(maxsize=1)
def is_shared() -> bool:
    """Whether Python's ``sqlite3`` and this package use one copy of SQLite."""
    path = getattr(_sqlite3, "__file__", None)
    return path is not None and _core._sqlite_shared_with(path)


@lru_cache(maxsize=1)
def check_shared_library() -> None:
    """Warn, one time, where there are two copies."""
    if not is_shared():
        warnings.warn(
            f"{_two_copies()}: do not open one database file through both", RuntimeWarning, stacklevel=3
        )


def check_may_lend() -> None:
    """Raise DatabaseError where ``sqlite3`` may not open the file of a pool."""
    if not is_shared():
        raise DatabaseError(
            f"{_two_copies()}: a connection of sqlite3 to the file of a pool would corrupt it"
        )


def _two_copies() -> str:
    return (
        f"this process has two copies of SQLite, {sqlite3.sqlite_version} of Python's sqlite3 and "
        f"{_core.SQLITE_VERSION} of this package"
    )
