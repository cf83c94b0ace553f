"""The file of a SQLite tier: made whole, told from files of others, kept apart from parts of another, and
made anew when it is damaged."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import re
import secrets
import sqlite3
import stat
import threading
import time
import urllib.parse
import weakref
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from ..errors import BackendUnavailable, ConfigurationError, DatabaseCorrupt, DatabaseError
from ._sqlite_parts import (
    HEADER_BYTES,
    FileId,
    descriptor_of,
    identify,
    identity_in_log,
    is_sealed,
    is_used_elsewhere,
    seal,
    state_in,
)

__all__ = ["FileId", "TierFile", "path_of"]

_APPLICATION_ID = 0x4D435043  # "MCPC", in the file's header
_VERSION = 2
_MARK_BITS = 24
_SCHEMA = f"""
PRAGMA page_size = 4096;
PRAGMA application_id = {_APPLICATION_ID};
BEGIN;
CREATE TABLE meta (identity BLOB NOT NULL, stamp INTEGER NOT NULL, complete INTEGER NOT NULL);
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
_VERSION_AT = 60
_ID_AT = 68
_BESIDE = ("-wal", "-shm")
_MOST_TRIES = 20
"""How often a file that is replaced again and again is tried."""
_ELSEWHERE = (errno.ENOENT, errno.EEXIST, errno.ESTALE)
"""What comes of a file that is put there, or taken away, meanwhile."""
_LOST = (10, 14)
"""What SQLite answers where a part was taken away: SQLITE_IOERR, SQLITE_CANTOPEN."""
_TURN_POLL = 0.002


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
    if os.path.islink(found):
        found = os.path.realpath(found)  # as SQLite does, which names the log after what it finds
    if not os.path.isdir(os.path.dirname(found)):
        raise ConfigurationError(f"url={url!r}: the directory {os.path.dirname(found)!r} is not there")
    return found


def uri_of(path: str) -> str:
    """What SQLite is given to open *path*, which it never makes."""
    return f"file:{urllib.parse.quote(path)}?mode=rw"


class TierFile:
    """One file by its name, whichever lies there, with its log and the index of that. Safe from any thread;
    processes take turns by a lock on the directory.

    It is made beside its place, with all its tables, and then given its name, so that nobody ever finds half
    of it. A file that something else made is never touched. What a tier made holds nothing that could not be
    loaded again: a damaged one is put away and made anew, and so is a copy, as it may hold what was ended in
    the original, and one of which a part was deleted while it was in use.

    Files of one name share the names of their logs and indexes, which are found when a database is opened,
    and never again. So it is opened in turns, after a look at whether the parts belong together; parts of
    another file are deleted first, never used again, and whoever has them open goes on with those.

    Args:
        path: where it lies.
        timeout: how long to wait for a turn, seconds.
        open_file: opens the database, which must be that file, and reads of it.
    """

    def __init__(self, path: str, timeout: float, open_file: Callable[[FileId], object]) -> None:
        self.path = path
        self._timeout = timeout
        self._open_file = open_file
        self._known: FileId | None = None
        self._parts: list[FileId | None] = []
        self._lock = threading.RLock()
        _files.add(self)

    @property
    def is_ready(self) -> bool:
        """Whether the file that lies there now is the one that is open."""
        known = self._known  # which another thread may forget
        return known is not None and identify(self.path) == known

    def check(self) -> None:
        """Refuse what lies there, unless it is a tier's or nothing.

        Raises:
            ConfigurationError: it is another's; the message names the path and the reason.
        """
        try:
            found = os.stat(self.path)
            if found.st_size or not stat.S_ISREG(found.st_mode):
                self._inspect(found)
        except _ForeignFile as error:
            raise ConfigurationError(f"url='sqlite:///{self.path}': {error}") from None
        except OSError:
            pass  # whoever uses it is told

    def make_ready(self) -> None:
        """Open the file, which is made if nothing lies there.

        Raises:
            BackendUnavailable: it cannot be made or opened, or something else lies there.
        """
        if self.is_ready:
            return
        with self._lock, self._turn():
            if not self.is_ready:
                self._begin(None)

    def mend(self, error: DatabaseError) -> bool:
        """Do what can be done about *error*, which came of using the file; whether to try again.

        Raises:
            BackendUnavailable: what lies there is no tier's file, or it cannot be made anew.
        """
        with self._lock:
            if not self.is_ready:
                self.make_ready()  # it was replaced, or deleted
                return True
            if _is_damage(error) or self._parts != self._look_beside():
                with self._turn():
                    if self.is_ready:
                        _log.warning("%s is damaged, and is made anew: %s", self.path, error)
                        self._begin(self._known)
                return True
        return False

    def close(self, shut: Callable[[bool], object]) -> None:
        """*shut* the database; it is told if it is the last that has it open, which deletes the log."""
        with self._lock:
            try:
                with self._turn():
                    is_last = self._is_last()
                    shut(is_last)
                    if is_last and self.is_ready:
                        with suppress(OSError):
                            seal(self.path)
            except BackendUnavailable:
                shut(False)
            self._known = None

    def start_anew(self) -> None:
        """In a forked child: the lock may have been held by a thread that does not exist here."""
        self._lock = threading.RLock()
        self._known = None

    # -- In turn

    def _begin(self, damaged: FileId | None) -> None:
        """Open what lies there, unless it is *damaged*, or make it anew."""
        self._known = None
        found: FileId | None = None
        for _ in range(_MOST_TRIES):
            try:
                found = self._settle(damaged)
                self._open_file(found)
            except OSError as error:
                if error.errno in _ELSEWHERE and os.path.isdir(os.path.dirname(self.path)):
                    continue
                raise BackendUnavailable(f"{self.path} cannot be made: {error.strerror}") from error
            except DatabaseError as error:
                if identify(self.path) != found:
                    continue
                if error.code & 0xFF in _LOST:
                    continue
                if found == damaged or not _is_damage(error):
                    raise BackendUnavailable(f"{self.path}: {error}") from error
                _log.warning("%s is damaged, and is made anew: %s", self.path, error)
                damaged = found
                continue
            except sqlite3.Error as error:
                raise BackendUnavailable(f"{self.path} cannot be made: {error}") from error
            parts = self._look_beside()
            if identify(self.path) == found:
                self._known, self._parts = found, parts
                return
        raise BackendUnavailable(f"{self.path} cannot be read, or is replaced again and again")

    def _is_last(self) -> bool:
        if self._known is None or not self.is_ready:
            return False
        try:
            with descriptor_of(self.path, self._known) as file:
                return not self._is_used(self._known, file)
        except OSError:
            return False

    def _settle(self, damaged: FileId | None) -> FileId:
        """Put the parts in order; which file it is."""
        try:
            status = os.stat(self.path)
        except FileNotFoundError:
            return self._put_new()
        if status.st_size == 0 and stat.S_ISREG(status.st_mode):
            return self._put_new()
        found = status.st_dev, status.st_ino
        mark = self._inspect(status)
        if found == damaged:
            return self._put_new()
        if mark != _mark_of(status.st_ino) or status.st_nlink != 1:  # each name has a log of its own
            _log.warning("%s is a copy, which may hold what has ended since, and is made anew", self.path)
            return self._put_new()
        if not self._is_whole(found):
            _log.warning("%s lacks what belongs to it, or was written over, and is made anew", self.path)
            return self._put_new()
        return found

    def _is_whole(self, found: FileId) -> bool:
        """Whether nothing of it is missing; what lies beside it then is its own, or is deleted."""
        with descriptor_of(self.path, found) as file:
            is_used = self._is_used(found, file)
            state = state_in(file)
            is_as_closed = state is not None and state.is_complete and is_sealed(file, state)
        if state is None:
            return True  # damaged: whoever opens it is told
        writer = identity_in_log(f"{self.path}-wal")
        is_own = writer == state.identity or (writer is None and state.is_complete)
        if is_used:
            return is_own and None not in self._look_beside()
        if writer == state.identity:
            return True
        if is_as_closed:
            self._put_away(_BESIDE)
        return is_as_closed

    def _is_used(self, found: FileId, file: int) -> bool:
        others = any(other is not self and other._known == found for other in list(_files))
        return others or is_used_elsewhere(file)

    def _inspect(self, status: os.stat_result) -> int:
        """Refuse it unless it is a tier's; how it is marked."""
        if not stat.S_ISREG(status.st_mode):
            raise _ForeignFile(f"{self.path} is not a file")
        with descriptor_of(self.path, (status.st_dev, status.st_ino)) as file:
            header = os.pread(file, HEADER_BYTES, 0)
        if not header.startswith(_MAGIC):
            raise _ForeignFile(f"{self.path} is not a SQLite database")
        number, application = (int.from_bytes(header[at : at + 4], "big") for at in (_VERSION_AT, _ID_AT))
        if application != _APPLICATION_ID:
            raise _ForeignFile(f"{self.path} is a SQLite database of another program")
        version, mark = divmod(number, 1 << _MARK_BITS)
        if version != _VERSION:
            raise _ForeignFile(
                f"{self.path} was made by another version of this package (format {version}, not {_VERSION})"
            )
        return mark

    def _put_new(self) -> FileId:
        """Make the file, in place of what lies there."""
        self._clean_up()
        new = f"{self.path}.{secrets.token_hex(8)}.new"
        os.close(os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
        try:
            status = os.stat(new)
            database = sqlite3.connect(new, isolation_level=None)
            try:
                database.execute("PRAGMA synchronous = OFF")
                database.executescript(_SCHEMA)
                number = _VERSION << _MARK_BITS | _mark_of(status.st_ino)
                database.execute(f"PRAGMA user_version = {number}")
                database.execute("INSERT INTO meta VALUES (?, 0, 1)", (secrets.token_bytes(16),))
                database.execute("COMMIT")
                # Or the first to open it would, by a journal whose name others use.
                database.execute("PRAGMA journal_mode = WAL")
            finally:
                database.close()
            self._put_away(("", *_BESIDE))
            os.link(new, self.path)
        finally:
            self._clean_up()
        return status.st_dev, status.st_ino

    def _put_away(self, parts: tuple[str, ...]) -> None:
        for part in parts:
            with suppress(FileNotFoundError):
                os.unlink(self.path + part)

    def _clean_up(self) -> None:
        """Delete what was being made, also by whoever died of it."""
        folder, name = os.path.split(self.path)
        made = re.compile(re.escape(name) + r"\.[0-9a-f]{16}\.new(-wal|-shm|-journal)?")
        for found in os.listdir(folder):
            if made.fullmatch(found):
                with suppress(FileNotFoundError):
                    os.unlink(os.path.join(folder, found))

    def _look_beside(self) -> list[FileId | None]:
        return [identify(self.path + part) for part in _BESIDE]

    @contextmanager
    def _turn(self) -> Iterator[None]:
        try:
            directory = os.open(os.path.dirname(self.path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise BackendUnavailable(f"{self.path}: {error.strerror}") from error
        try:
            self._wait_for_turn(directory)
            try:
                yield
            finally:
                fcntl.flock(directory, fcntl.LOCK_UN)  # a child that was forked meanwhile has it open too
        finally:
            os.close(directory)

    def _wait_for_turn(self, directory: int) -> None:
        last = time.monotonic() + self._timeout
        while True:
            try:
                return fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > last:
                    raise BackendUnavailable(
                        f"{self.path}: another process holds the lock on its directory"
                    ) from None
            except OSError as error:
                raise BackendUnavailable(f"{self.path}: {error.strerror}") from error
            time.sleep(_TURN_POLL)


class _ForeignFile(BackendUnavailable):
    """What lies there is not a tier's, and is left as it is."""


def _mark_of(inode: int) -> int:
    """What a file says of its own inode, by which a copy is told from it."""
    return zlib.crc32(b"%d" % inode) & ((1 << _MARK_BITS) - 1)


def _is_damage(error: DatabaseError) -> bool:
    return isinstance(error, DatabaseCorrupt) or (error.code & 0xFF == _NO_TABLE and "no such" in str(error))


_files: weakref.WeakSet[TierFile] = weakref.WeakSet()
_log = logging.getLogger("mcp_performance.tiers")
