"""One SQLite file for all that a tier does: its connections, its thread, and what becomes of errors."""

from __future__ import annotations

import asyncio
import os
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from typing import Any, TypeVar

from .. import _core
from ..errors import BackendUnavailable, DatabaseError, PoolTimeout
from ..sqlite import SQLitePool
from ..sqlite._worker import STOP, Job, work
from ._sqlite_file import FileId, TierFile, uri_of
from ._sqlite_records import Row, Transaction, lookup_of

__all__ = ["Database", "microseconds"]

_R = TypeVar("_R")
_SIZE = 5
_REFUSED_FOR = 1.0
"""For how long nobody tries to write after a write lock was not had in time, seconds."""
_SWEEP_EVERY = 64
_LONGEST_END = 5.0
_GLANCE = 0.1
_MOST_TRIES = 5
"""How often what fails is tried, where the file was made anew meanwhile."""


def microseconds() -> int:
    """The machine's time."""
    return time.time_ns() // 1000


class Database:
    """Reads and transactions on the file, by any thread and any event loop, and across ``fork``.

    Readers never wait for writers. A loop's transactions run on a thread of this object. Whatever fails
    is :class:`BackendUnavailable`, with the path and the reason.

    Args:
        path: of the file.
        timeout: how long a write waits for those of other processes, seconds.
        max_bytes: how large the file may grow.
    """

    def __init__(self, path: str, timeout: float, max_bytes: int) -> None:
        self.file = TierFile(path, timeout, self._open)
        self._timeout = timeout
        self._pages = max_bytes // 4096
        self.pool = _GuardedPool(
            uri_of(path),
            size=_SIZE,
            cache_pages=500,
            wal=True,
            query_cache_ttl=0,
            busy_timeout=timeout,
            acquire_timeout=max(timeout, 1.0),
            synchronous="NORMAL",
            init=partial(_bound, self._pages),
            tracking=False,
            name=path,
        )
        self._worker = _Worker()
        self._closed = False
        self._refuses_until = 0.0
        self._writes = 0
        _databases.add(self)

    def make_ready(self) -> None:
        """Make the file if it is not there."""
        if self._closed:
            raise BackendUnavailable(f"{self.file.path}: the tier is closed")
        self.file.make_ready()

    async def amake_ready(self) -> None:
        """:meth:`make_ready` without blocking the event loop."""
        if not self.file.is_ready:
            await self.on_thread(self.make_ready)

    def find(self, names: tuple[bytes, ...]) -> dict[bytes, Row | None]:
        """What lies under *names*, in a file that is ready."""
        return self._mended(lambda: self._find(names))

    async def afind(self, names: tuple[bytes, ...]) -> dict[bytes, Row | None]:
        """:meth:`find` without blocking the event loop."""
        if not self._closed:
            try:
                return {name: await self.pool.fetchrow(*lookup_of(name), cache=False) for name in names}
            except DatabaseError:
                pass  # the thread tries again, and mends what can be mended
        return await self.on_thread(lambda: self.find(names))

    def write(self, writer: bytes, steps: Callable[[Transaction], _R]) -> _R:
        """Take *steps* in one transaction; what they return. Nothing of it stands if that raises."""
        return self._mended(lambda: self._transact(writer, steps))

    def glance(self, sql: str, *params: Any) -> list[tuple[Any, ...]]:
        """The rows of a short SELECT, without mending anything, and without waiting for long: the caller may
        be an event loop."""
        if not self.file.is_ready or self._closed:
            raise BackendUnavailable(f"{self.file.path} is not there as yet")
        try:
            return list(self.pool.blocking.fetch(sql, params, cache=False, timeout=_GLANCE))
        except DatabaseError as error:
            raise self._unavailable(error) from error

    async def on_thread(self, job: Callable[[], _R]) -> _R:
        """Run *job* on this object's thread; after what was given to it before."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if not self._worker.submit((future, job)):
            raise BackendUnavailable(f"{self.file.path}: the tier is closed")
        result: _R = await future
        return result

    def post(self, job: Callable[[], object]) -> None:
        """The same, for nobody who waits."""
        self._worker.submit((None, job))

    def close(self) -> None:
        """End the thread when it has done what it was given, and close the connections."""
        if self._closed:
            return
        self._closed = True
        self._worker.close()
        self.file.close(self._shut)

    def peek(self, name: bytes) -> Row | None:
        """What lies under *name*; ``None`` also if that cannot be told at once."""
        if self._closed or not self.file.is_ready:
            return None
        try:
            row: Row | None = self.pool.blocking.fetchrow(*lookup_of(name), cache=False)
        except DatabaseError:
            return None
        return row

    async def apeek(self, name: bytes) -> Row | None:
        """:meth:`peek` without blocking the event loop."""
        if self._closed or not self.file.is_ready:
            return None
        try:
            row: Row | None = await self.pool.fetchrow(*lookup_of(name), cache=False)
        except DatabaseError:
            return None
        return row

    def _open(self, file: FileId) -> None:
        """Open *file*, whose parts are in order, and nothing else."""
        _core._sqlite_expect(self.pool, *file)
        self.pool.blocking.fetchval("SELECT identity FROM meta", cache=False)

    def _shut(self, is_last: bool) -> None:
        if is_last:
            with suppress(DatabaseError):
                self.pool.blocking.execute("UPDATE meta SET complete = 1", timeout=_GLANCE)
                _core._sqlite_delete_log_at_close(self.pool)
        self.pool.terminate()

    def _find(self, names: tuple[bytes, ...]) -> dict[bytes, Row | None]:
        blocking = self.pool.blocking
        return {name: blocking.fetchrow(*lookup_of(name), cache=False) for name in names}

    def _transact(self, writer: bytes, steps: Callable[[Transaction], _R]) -> _R:
        if time.monotonic() < self._refuses_until:
            raise BackendUnavailable(f"{self.file.path} is locked by another process")
        self.file.make_ready()
        try:
            with self.pool.blocking.transaction(timeout=self._timeout) as db:
                transaction = Transaction(db, writer, microseconds(), self._pages)
                self._writes += 1
                if self._writes % _SWEEP_EVERY == 0:
                    transaction.sweep()
                return steps(transaction)
        except PoolTimeout:
            self._refuses_until = time.monotonic() + _REFUSED_FOR
            raise

    def _mended(self, job: Callable[[], _R]) -> _R:
        if self._closed:
            raise BackendUnavailable(f"{self.file.path}: the tier is closed")
        tries = 0
        while True:
            try:
                return job()
            except DatabaseError as error:
                tries += 1
                if self._closed or tries == _MOST_TRIES or not self.file.mend(error):
                    raise self._unavailable(error) from error

    def _unavailable(self, error: DatabaseError) -> BackendUnavailable:
        return BackendUnavailable(f"{self.file.path}: {error}")

    def _start_anew(self) -> None:
        self.file.start_anew()
        self._worker = _Worker()
        self._refuses_until = 0.0


class _GuardedPool(SQLitePool[Any]):
    """Opens no file but the one that it is told to expect."""

    _is_guarded = True


class _Worker:
    """A thread that begins with the first job, and ends with the object."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[Job] = SimpleQueue()
        self._lock = threading.RLock()  # a lease may go, and post that, wherever objects are made
        self._thread: threading.Thread | None = None
        self._closed = False
        weakref.finalize(self, self._jobs.put, (None, _stop)).atexit = False

    def submit(self, job: Job) -> bool:
        """Give it *job*; whether it will be done."""
        with self._lock:
            if self._closed:
                return False
            self._jobs.put(job)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=work, args=(self._jobs,), name="mcp-sqlite-tier", daemon=True
                )
                self._thread.start()
            return True

    def close(self) -> None:
        """No more jobs; returns when those before are done, or take too long."""
        with self._lock:
            self._closed = True
            self._jobs.put((None, _stop))
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(_LONGEST_END)


def _stop() -> object:
    return STOP


def _bound(pages: int, connection: Any) -> None:
    connection.execute(f"PRAGMA max_page_count = {pages}")


_databases: weakref.WeakSet[Database] = weakref.WeakSet()


def _start_all_anew() -> None:
    for database in list(_databases):
        database._start_anew()


os.register_at_fork(after_in_child=_start_all_anew)
