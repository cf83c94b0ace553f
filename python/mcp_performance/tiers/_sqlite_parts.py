"""What the three parts of a database say without SQLite: the file, its log, and the index of that.

SQLite finds the log and the index by their names alone, so whether they are those of the file that lies
beside them has to be known before it opens them.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

__all__ = [
    "HEADER_BYTES",
    "FileId",
    "descriptor_of",
    "identify",
    "identity_in_log",
    "is_sealed",
    "is_used_elsewhere",
    "seal",
]

FileId = tuple[int, int]

HEADER_BYTES = 100
_PAGE = 4096
_META = 2
"""The page of the first table, whose only row is a :class:`State`, with a number between its parts."""
_IDENTITY_BYTES = 16
_INTEGER_BYTES = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}
_LEAF = 13
_LOG_HEAD, _FRAME_HEAD = 32, 24
_SECOND = 1_000_000_000
_LOCK = "hhqqi4x"
_SHARED_FIRST, _SHARED_SIZE = 0x40000002, 510
"""The bytes that SQLite locks: in WAL mode for as long as a connection lives."""


class State(NamedTuple):
    """What a file says of itself."""

    identity: bytes
    is_complete: bool
    """Whether it was closed in order, and not written since: all that it holds is in the file."""
    stamp: int
    """Of its last transaction, microseconds; 0 before the first."""


def identify(path: str) -> FileId | None:
    """Which file has this name."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


@contextmanager
def descriptor_of(path: str, wanted: FileId) -> Iterator[int]:
    """A descriptor of the file *wanted*, which lies at *path*.

    Closing one of a file that this process has open would drop SQLite's locks on it, so one that is there
    already is lent.
    """
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            found = os.fstat(int(name))
            if (found.st_dev, found.st_ino) == wanted:
                lent = int(name)
                break
    else:
        lent = -1
    if lent >= 0:
        yield lent
        # Its owner may have closed it meanwhile, and somebody have opened something else there.
        with suppress(OSError):
            found = os.fstat(lent)
            if (found.st_dev, found.st_ino) == wanted:
                return
        raise OSError(errno.ESTALE, "the file was closed while it was looked at")
    opened = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        found = os.fstat(opened)
        if (found.st_dev, found.st_ino) != wanted:
            raise OSError(errno.ESTALE, "the file was replaced while it was looked at")
        yield opened
    finally:
        os.close(opened)


def is_used_elsewhere(file: int) -> bool:
    """Whether another process has the database open."""
    asked = struct.pack(_LOCK, fcntl.F_WRLCK, os.SEEK_SET, _SHARED_FIRST, _SHARED_SIZE, 0)
    found: int = struct.unpack(_LOCK, fcntl.fcntl(file, fcntl.F_GETLK, asked))[0]
    return found != fcntl.F_UNLCK


def state_in(file: int) -> State | None:
    """What the file itself says, without its log; ``None`` where it is damaged."""
    return _state_on(os.pread(file, _PAGE, (_META - 1) * _PAGE))


def seal(path: str) -> None:
    """Have the file, which nobody has open, say when it was closed: its time of change is the stamp in it."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        state = state_in(file)
        if state is not None and state.is_complete:
            os.utime(file, ns=(state.stamp * 1000, state.stamp * 1000))
    finally:
        os.close(file)


def is_sealed(file: int, state: State) -> bool:
    """Whether it is as it was closed, and was not written over since (``cp``)."""
    time, closed = os.fstat(file).st_mtime_ns, state.stamp * 1000
    is_coarse = time % _SECOND == 0  # as file systems are that keep whole seconds, or two
    return closed in (0, time) or (is_coarse and 0 <= closed - time < 2 * _SECOND)


def identity_in_log(path: str) -> bytes | None:
    """The identity of the database that the log at *path* was written for; ``None`` if it does not say.

    Each transaction of ours writes the page that says it, so only a log that was never written does not:
    what it held before it was begun anew tells too.
    """
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        at = _LOG_HEAD
        while len(head := os.pread(file, _FRAME_HEAD, at)) == _FRAME_HEAD:
            if int.from_bytes(head[:4], "big") == _META:
                state = _state_on(os.pread(file, _PAGE, at + _FRAME_HEAD))
                return b"" if state is None else state.identity
            at += _FRAME_HEAD + _PAGE
        return None
    finally:
        os.close(file)


def _state_on(page: bytes) -> State | None:
    """What is said on a page with one row: (BLOB of 16 bytes, INTEGER, 0 or 1)."""
    if len(page) < _PAGE or page[0] != _LEAF or page[3:5] != b"\0\1":
        return None
    row = page[int.from_bytes(page[8:10], "big") :]
    # Bytes in all, rowid, bytes of the head; in it 12 + 2 * 16 for the BLOB, a byte for the INTEGER, 8 or 9.
    if row[1:4] != bytes((1, 4, 12 + 2 * _IDENTITY_BYTES)) or row[5] not in (8, 9):
        return None
    end = 6 + _IDENTITY_BYTES
    stamp = row[end : end + _INTEGER_BYTES.get(row[4], 0)]
    return State(row[6:end], row[5] == 9, int.from_bytes(stamp, "big", signed=True))
