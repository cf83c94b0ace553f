"""The file of a SQLite tier: made whole, told from files of others, and made anew when it is damaged."""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
import sqlite3
import stat
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ..errors import BackendUnavailable, ConfigurationError, DatabaseCorrupt, DatabaseError

__all__ = ["TierFile", "path_of"]

_APPLICATION_ID = 0x4D435043  # "MCPC", in the file's header
_VERSION = 1
_SCHEMA = f"""
PRAGMA page_size = 4096;
PRAGMA application_id = {_APPLICATION_ID};
PRAGMA user_version = {_VERSION};
BEGIN;
CREATE TABLE meta (identity BLOB NOT NULL, stamp INTEGER NOT NULL);
CREATE TABLE record (
    id INTEGER PRIMARY KEY, name BLOB NOT NULL UNIQUE, kind INTEGER NOT NULL,
    data BLOB NOT NULL, expires INTEGER
);
CREATE INDEX record_age ON record (kind, id);
CREATE INDEX record_end ON record (expires) WHERE expires IS NOT NULL;
CREATE TABLE tagged (tag BLOB NOT NULL, id INTEGER NOT NULL, PRIMARY KEY (tag, id)) WITHOUT ROWID;
CREATE INDEX tagged_record ON tagged (id);
CREATE TRIGGER record_gone AFTER DELETE ON record WHEN old.kind = 0 BEGIN
    DELETE FROM tagged WHERE id = old.id;
END;
CREATE TABLE change (seq INTEGER PRIMARY KEY, writer BLOB NOT NULL, name BLOB NOT NULL);
INSERT INTO change (writer, name) VALUES (x'', x'');
CREATE TABLE holder (
    ident TEXT PRIMARY KEY, pid INTEGER NOT NULL, began INTEGER NOT NULL, space TEXT NOT NULL
) WITHOUT ROWID;
"""
_EXPECTED = "sqlite:///relative/path or sqlite:////absolute/path"
_NO_TABLE = 1
_MAGIC = b"SQLite format 3\0"
_HEADER_BYTES = 100
_VERSION_AT = 60
_ID_AT = 68

FileId = tuple[int, int]


def path_of(url: str) -> str:
    """The absolute path in *url*, as SQLAlchemy writes it: three slashes, then the path as it is.

    Raises:
        ConfigurationError: it is no such URL.
        TypeError: it is no str.
    """
    if not isinstance(url, str):
        raise TypeError(f"url={url!r}: expected {_EXPECTED}")
    scheme, _, path = url.partition(":///")
    if scheme != "sqlite" or not path or path == ":memory:" or any(mark in path for mark in "?#\0"):
        raise ConfigurationError(f"url={url!r}: expected {_EXPECTED}, which processes can share")
    if path.endswith("/") or os.path.isdir(path):
        raise ConfigurationError(f"url={url!r}: {path!r} is a directory, expected a file")
    found = os.path.abspath(path)
    if not os.path.isdir(os.path.dirname(found)):
        raise ConfigurationError(f"url={url!r}: the directory {os.path.dirname(found)!r} is not there")
    return found


class TierFile:
    """One file by its name, whichever lies there. Safe from any thread; processes take turns by a lock on
    the directory.

    It is made beside its place, with all its tables, and then given its name, so that nobody ever finds half
    of it. A file that something else made is never touched. A damaged one that a tier made holds nothing
    that could not be loaded again: it is put away and made anew.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.uri = f"file:{urllib.parse.quote(path)}?mode=rw"  # SQLite itself never makes it
        self._known: FileId | None = None
        self._lock = threading.RLock()

    @property
    def is_ready(self) -> bool:
        """Whether the file that lies there now is known as a tier's."""
        return self._known is not None and _identify(self.path) == self._known

    def check(self) -> None:
        """Refuse what lies there, unless it is a tier's or nothing.

        Raises:
            ConfigurationError: it is another's; the message names the path and the reason.
        """
        try:
            if _identify(self.path) is not None:
                self.make_ready()
        except BackendUnavailable as error:
            if isinstance(error, _ForeignFile):
                raise ConfigurationError(f"url='sqlite:///{self.path}': {error}") from None

    def make_ready(self) -> None:
        """Make the file if nothing lies there.

        Raises:
            BackendUnavailable: it cannot be made, or something else lies there.
        """
        if self.is_ready:
            return
        with self._lock:
            try:
                found = os.stat(self.path)
                if not stat.S_ISREG(found.st_mode):
                    raise _ForeignFile(f"{self.path} is not a file")
                if found.st_size == 0:
                    self._make(instead_of=(found.st_dev, found.st_ino))
                else:
                    self._inspect((found.st_dev, found.st_ino))
            except FileNotFoundError:
                self._make(instead_of=None)
            except OSError as error:
                raise BackendUnavailable(f"{self.path}: {error.strerror}") from error

    def mend(self, error: DatabaseError) -> bool:
        """Do what can be done about *error*, which came of using the file; whether to try again.

        Raises:
            BackendUnavailable: what lies there is no tier's file.
        """
        code = error.code & 0xFF
        with self._lock:
            if not self.is_ready:
                self.make_ready()  # it was replaced, or deleted
                return True
            if isinstance(error, DatabaseCorrupt) or (code == _NO_TABLE and "no such" in str(error)):
                damaged = _identify(self.path)
                if damaged is None:
                    return True
                self._known = None
                self._inspect(damaged)  # it may have been written over
                _log.warning("%s is damaged, and is made anew: %s", self.path, error)
                self._make(instead_of=damaged)
                return True
        return False

    def start_anew(self) -> None:
        """In a forked child: the lock may have been held by a thread that does not exist here."""
        self._lock = threading.RLock()

    def _inspect(self, found: FileId) -> None:
        """Remember that *found* is a tier's."""
        header = _header_of(self.path, found)
        if not header.startswith(_MAGIC):
            raise _ForeignFile(f"{self.path} is not a SQLite database")
        version, application = (int.from_bytes(header[at : at + 4], "big") for at in (_VERSION_AT, _ID_AT))
        if application != _APPLICATION_ID:
            raise _ForeignFile(f"{self.path} is a SQLite database of another program")
        if version != _VERSION:
            raise _ForeignFile(
                f"{self.path} was made by another version of this package (format {version}, not {_VERSION})"
            )
        self._known = found

    def _make(self, *, instead_of: FileId | None) -> None:
        """Make the file, *instead_of* the one that lies there; another process may have done so already."""
        try:
            with self._turn():
                now = _identify(self.path)
                if now == instead_of:
                    self._put_new()
            found = _identify(self.path)
        except OSError as error:
            raise BackendUnavailable(f"{self.path} cannot be made: {error.strerror}") from error
        except sqlite3.Error as error:
            raise BackendUnavailable(f"{self.path} cannot be made: {error}") from error
        if found is None:
            raise BackendUnavailable(f"{self.path} was deleted while it was made")
        self._inspect(found)

    def _put_new(self) -> None:
        new = f"{self.path}.{secrets.token_hex(8)}.new"
        os.close(os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
        try:
            database = sqlite3.connect(new, isolation_level=None)
            try:
                database.execute("PRAGMA synchronous = OFF")
                database.executescript(_SCHEMA)
                database.execute("INSERT INTO meta VALUES (?, 0)", (secrets.token_bytes(16),))
                database.execute("COMMIT")
            finally:
                database.close()
            for name in (self.path, f"{self.path}-wal", f"{self.path}-shm"):  # the log is the old file's
                with suppress(FileNotFoundError):
                    os.unlink(name)
            os.link(new, self.path)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(new)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        directory = os.open(os.path.dirname(self.path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(directory, fcntl.LOCK_EX)
            yield
        finally:
            os.close(directory)


class _ForeignFile(BackendUnavailable):
    """What lies there is not a tier's, and is left as it is."""


def _header_of(path: str, wanted: FileId) -> bytes:
    """The first bytes of the file. Closing a descriptor of a file that this process has open would drop
    SQLite's locks on it, so one that is there already is used."""
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            found = os.fstat(int(name))
            if (found.st_dev, found.st_ino) == wanted:
                return os.pread(int(name), _HEADER_BYTES, 0)
    with open(path, "rb") as file:
        return file.read(_HEADER_BYTES)


def _identify(path: str) -> FileId | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


_log = logging.getLogger("mcp_performance.tiers")
