"""Which copy of SQLite this process has, and what two copies may not do.

SQLite keeps its locks on a file in tables of the library. Two copies of it in one process do not see each
other's, and the one that closes a file drops the POSIX locks of the other: the database is corrupted. So
where Python's ``sqlite3`` has a copy of its own, a file is for one of the two: a pool refuses one that
``sqlite3`` has open, and ``sqlite3`` cannot open one of a pool.
"""

from __future__ import annotations

import _sqlite3
import os
import sqlite3
import sys
import urllib.parse
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from .. import _core
from ..errors import DatabaseError

if TYPE_CHECKING:
    from ._pool import SQLitePool

__all__ = ["check_may_lend", "check_not_open", "copy_in_use", "is_shared", "keep_apart"]

_files: WeakKeyDictionary[SQLitePool[Any], str] = WeakKeyDictionary()  # of pools


@lru_cache(maxsize=1)
def is_shared() -> bool:
    """Whether Python's ``sqlite3`` and this package use one copy of SQLite."""
    path = getattr(_sqlite3, "__file__", None)
    return path is not None and _core._sqlite_shared_with(path)


def copy_in_use() -> str:
    """The file of the library that this package uses."""
    return _core._sqlite_library_file()


def check_may_lend() -> None:
    """Raise DatabaseError where ``sqlite3`` may not open the file of a pool."""
    if not is_shared():
        raise DatabaseError(
            f"{_two_copies()}: a connection of sqlite3 to the file of a pool would corrupt it"
        )


def check_not_open(path: str) -> None:
    """Raise DatabaseError where a second copy of SQLite has the file of a database open."""
    if is_shared():
        return
    file = _file_of(path)
    if file is not None and not _of_a_pool(file) and _is_open(file):
        raise DatabaseError(f"{_two_copies()}, and {file!r} is open outside of it: close it there first")


def keep_apart(pool: SQLitePool[Any]) -> None:
    """Make sure that no second copy of SQLite opens the file of *pool*, which is being made.

    Raises:
        DatabaseError: one has it open.
    """
    if is_shared():
        return
    check_not_open(pool.path)
    file = _file_of(pool.path)
    if file is not None:
        _files[pool] = file
        _watch_connects()


def _of_a_pool(file: str) -> bool:
    return any(_is_same(file, other) for pool, other in list(_files.items()) if not pool.closed)


def _two_copies() -> str:
    return (
        f"this process has two copies of SQLite, {sqlite3.sqlite_version} of Python's sqlite3 and "
        f"{_core.SQLITE_VERSION} of this package"
    )


@lru_cache(maxsize=1)
def _watch_connects() -> None:
    sys.addaudithook(_on_event)  # for as long as the process lives


def _on_event(event: str, arguments: tuple[Any, ...]) -> None:
    if event != "sqlite3.connect":
        return
    file = _file_of(os.fsdecode(arguments[0]))
    if file is not None and _of_a_pool(file):
        raise DatabaseError(f"{_two_copies()}, and a pool has {file!r}: use the pool, or close it first")


def _file_of(path: str) -> str | None:
    """The file of a database; None for one in memory."""
    if path.startswith("file:"):
        try:
            parts = urllib.parse.urlsplit(path)
        except ValueError:  # SQLite opens no file by half an IPv6 address either
            return None
        if "mode=memory" in parts.query or "vfs=memdb" in parts.query:
            return None
        path = urllib.parse.unquote(parts.path)
    return None if path in ("", ":memory:") else os.path.realpath(path)


def _is_same(one: str, other: str) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:  # one of them is not there yet
        return one == other


def _is_open(file: str) -> bool:
    """Whether this process has a descriptor of the file."""
    try:
        wanted = os.stat(file)
        descriptors = os.listdir("/proc/self/fd")
    except OSError:
        return False
    for descriptor in descriptors:
        try:
            found = os.stat(f"/proc/self/fd/{descriptor}")
        except OSError:  # closed meanwhile
            continue
        if (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino):
            return True
    return False
