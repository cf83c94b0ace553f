"""One execution a key: claims, results, and the callers of this process who wait for one."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import threading
import time
import uuid
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass
from typing import Any

from .. import config
from .._base._checks import integer
from .._base._durations import seconds
from .._base._stats import Ttl
from ..errors import ConfigurationError, Error, IdempotencyError, InProgress, KeyReused
from ..sqlite import SQLitePool
from ..tiers._codecs import UnreadableValue, ValueCodec
from ..tiers._redis import RedisTier
from ._storage import Claimed, Record, Storage
from ._storage_memory import MemoryStorage
from ._storage_redis import RedisStorage
from ._storage_sqlite import SQLiteStorage

__all__ = ["IdempotencyStats", "IdempotencyStore", "Replay", "Reservation", "fingerprint_of"]

_logger = logging.getLogger("mcp_performance.idempotency")
_UNSET: Any = ...


@dataclass(frozen=True, slots=True)
class IdempotencyStats:
    """Figures of one store since it was made."""

    executed: int = 0
    """Keys that were claimed, each to execute what it stands for."""
    replayed: int = 0
    """Repeats that got the stored result."""
    joined: int = 0
    """Repeats that waited for an execution in this process."""
    reused: int = 0
    """Repeats refused because their payload differs."""
    in_progress: int = 0
    """Repeats refused because an execution is under way."""
    released: int = 0
    """Executions that failed, so that a repeat executes again."""
    lost: int = 0
    """Results that could not be stored; a repeat executes again when the claim has lapsed."""
    evicted: int = 0
    """Results forgotten before their time, for want of room."""
    entries: int | None = None
    """Records held; ``None`` where counting them costs."""


@dataclass(frozen=True, slots=True)
class Replay:
    """The result of an earlier execution."""

    result: Any


def fingerprint_of(*parts: bytes) -> str:
    """A digest of *parts* that no other parts share: BLAKE2b over each with its length in front."""
    digest = hashlib.blake2b(digest_size=32)
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()


class IdempotencyStore:
    """Remembers what was done under which key, so that a repeat gets the first answer.

    Safe from any thread and any event loop. An execution holds its key until it completes or releases it,
    or until *lease* has passed: a process that dies in between blocks the key for no longer.

    Args:
        storage: ``None`` for this process's memory; a path or a :class:`SQLitePool` to survive a restart;
            a :class:`RedisTier` to share between machines.
        ttl: how long a result answers repeats.
        lease: the longest that an execution may take before another process may execute again.
        max_entries: the most results kept in memory or in the file; the oldest are forgotten first.
        max_bytes: the most bytes of results kept in memory.
        clock: seconds, for tests; ``time.monotonic`` in memory, ``time.time`` in a file. Redis has its own.

    Raises:
        ConfigurationError: a bad argument.
    """

    def __init__(
        self,
        storage: str | os.PathLike[str] | SQLitePool | RedisTier | None = None,
        *,
        ttl: Ttl = _UNSET,
        lease: float = 120.0,
        max_entries: int = 100_000,
        max_bytes: int = 64 << 20,
        clock: Callable[[], float] | None = None,
    ) -> None:
        lifetime = seconds("ttl", config.IDEMPOTENCY_TTL if ttl is _UNSET else ttl)
        held = seconds("lease", lease)
        if lifetime is None or held is None:
            raise ConfigurationError(f"ttl={ttl!r}, lease={lease!r}: expected a number of seconds, not None")
        integer("max_entries", max_entries, 1)
        integer("max_bytes", max_bytes, 1)
        self._ttl = lifetime
        self._lease = held
        self._storage: Storage = _make_storage(storage, clock, max_entries, max_bytes)
        # For memory the result itself is kept; elsewhere its bytes.
        self._codec = ValueCodec(
            "msgpack", namespace="", signing_key=None, max_value_bytes=max_bytes, compress_above=None
        )
        self._lock = threading.Lock()
        self._running: dict[str, Reservation] = {}
        self._counts = dict.fromkeys(
            ("executed", "replayed", "joined", "reused", "in_progress", "released", "lost"), 0
        )
        _stores.add(self)

    @property
    def ttl(self) -> float:
        """How long a result answers repeats, seconds."""
        return self._ttl

    def begin(self, key: str, fingerprint: str, *, wait: bool = True) -> Reservation | Replay:
        """Claim *key* for an execution, or get the result of the one that was.

        Args:
            key: what is to be done once, its scope included.
            fingerprint: a digest of the payload; see :func:`fingerprint_of`.
            wait: wait for an execution of *key* in this process, rather than raise.

        Raises:
            KeyReused: *key* was used with another payload.
            InProgress: an execution is under way elsewhere, in this thread, or (unless *wait*) at all.
            Error: the storage cannot be used; nothing must be executed.
        """
        while True:
            reservation = Reservation(self, key, fingerprint, threading.current_thread())
            rival = self._enter(reservation, wait)
            if rival is None:
                try:
                    found = self._storage.claim(key, fingerprint, reservation.owner, self._lease)
                except BaseException:
                    self._leave(reservation)
                    raise
                return self._decide(reservation, found)
            try:
                rival.settles(reservation).result(self._lease)
            except FutureTimeout:
                raise self._refuse_in_progress(key) from None

    async def abegin(self, key: str, fingerprint: str, *, wait: bool = True) -> Reservation | Replay:
        """:meth:`begin` without blocking the event loop."""
        while True:
            reservation = Reservation(self, key, fingerprint, asyncio.current_task())
            rival = self._enter(reservation, wait)
            if rival is None:
                try:
                    found = await self._storage.aclaim(key, fingerprint, reservation.owner, self._lease)
                except BaseException as error:
                    self._leave(reservation)
                    if isinstance(error, asyncio.CancelledError):  # the claim may stand
                        _finish(self._storage.arelease(key, reservation.owner))
                    raise
                return self._decide(reservation, found)
            try:
                async with asyncio.timeout(self._lease):
                    await asyncio.shield(asyncio.wrap_future(rival.settles(reservation)))
            except TimeoutError:
                raise self._refuse_in_progress(key) from None

    def stats(self) -> IdempotencyStats:
        """Figures since the store was made."""
        return IdempotencyStats(**self._counts, evicted=self._storage.evicted, entries=self._storage.count())

    def close(self) -> None:
        """Close what this store opened: the pool of a path, but no pool or tier that it was given."""
        self._storage.close()

    async def aclose(self) -> None:
        """:meth:`close` without blocking the event loop."""
        await self._storage.aclose()

    # -- For this package

    def pack(self, value: Any) -> Any:
        """*value* as the storage takes it. Raises SerializationError."""
        return self._codec.encode(b"", value) if self._storage.needs_bytes else value

    def unpack(self, result: Any) -> Any:
        """What :meth:`pack` was given. Raises IdempotencyError for a record that cannot be read."""
        if not self._storage.needs_bytes:
            return result
        try:
            return self._codec.decode(b"", result)
        except UnreadableValue as error:
            raise IdempotencyError(f"a stored result cannot be read: {error}") from error

    def _enter(self, reservation: Reservation, wait: bool) -> Reservation | None:
        """Make the key's execution this one's; or the one that has it, to be waited for.

        One with another payload that has not claimed the key yet proves nothing: the record may be ours.
        """
        with self._lock:
            rival = self._running.setdefault(reservation.key, reservation)
            if rival is reservation:
                return None
        if rival.fingerprint != reservation.fingerprint:
            if rival.executes:
                raise self._refuse_reused(reservation.key)
            if wait:
                return rival
        if not wait or rival.holder is reservation.holder:
            raise self._refuse_in_progress(reservation.key)
        self._counts["joined"] += 1
        return rival

    def _leave(self, reservation: Reservation) -> None:
        with self._lock:
            if self._running.get(reservation.key) is reservation:
                del self._running[reservation.key]
        for event in (reservation.decided, reservation.ended):
            if not event.done():
                event.set_result(None)

    def _decide(self, reservation: Reservation, found: Claimed | Record) -> Reservation | Replay:
        if isinstance(found, Claimed):
            self._counts["executed"] += 1
            reservation.executes = True
            reservation.decided.set_result(None)
            return reservation
        self._leave(reservation)
        if found.fingerprint != reservation.fingerprint:
            raise self._refuse_reused(reservation.key)
        if not found.done:
            raise self._refuse_in_progress(reservation.key)
        self._counts["replayed"] += 1
        return Replay(found.result)

    def _refuse_reused(self, key: str) -> KeyReused:
        self._counts["reused"] += 1
        return KeyReused(f"idempotency key {key!r} was used with another payload")

    def _refuse_in_progress(self, key: str) -> InProgress:
        self._counts["in_progress"] += 1
        return InProgress(f"what idempotency key {key!r} stands for is being executed")

    def _start_anew(self) -> None:
        """In a forked child: the executions under way are the parent's."""
        self._lock = threading.Lock()
        self._running = {}
        if isinstance(self._storage, MemoryStorage):
            self._storage.start_anew()


class Reservation:
    """The right to execute what a key stands for. End it with ``complete`` or ``release``, once."""

    def __init__(self, store: IdempotencyStore, key: str, fingerprint: str, holder: object) -> None:
        self.store = store
        self.key = key
        self.fingerprint = fingerprint
        self.holder = holder
        self.owner = uuid.uuid4().hex
        self.executes = False
        self.decided: Future[None] = Future()  # done when it is known whether it executes
        self.ended: Future[None] = Future()

    def settles(self, other: Reservation) -> Future[None]:
        """What *other* has to wait for before it tries again."""
        return self.ended if self.fingerprint == other.fingerprint else self.decided

    def complete(self, result: Any) -> None:
        """Store *result* for repeats. If that fails it is logged and counted: the work is done."""
        try:
            self._note(
                self.store._storage.complete(self.key, self.fingerprint, self.owner, result, self.store._ttl)
            )
        except Error as error:
            self._lose(error)
        finally:
            self.store._leave(self)

    async def acomplete(self, result: Any) -> None:
        """:meth:`complete` without blocking the event loop."""
        try:
            self._note(
                await self.store._storage.acomplete(
                    self.key, self.fingerprint, self.owner, result, self.store._ttl
                )
            )
        except Error as error:
            self._lose(error)
        finally:
            self.store._leave(self)

    def release(self) -> None:
        """Let a repeat execute again."""
        try:
            self.store._storage.release(self.key, self.owner)
        except Error as error:
            self._lose(error)
        finally:
            self.store._counts["released"] += 1
            self.store._leave(self)

    async def arelease(self) -> None:
        """:meth:`release` without blocking the event loop; a cancellation does not stop it."""
        await asyncio.shield(_finish(self._arelease()))

    async def _arelease(self) -> None:
        try:
            await self.store._storage.arelease(self.key, self.owner)
        except Error as error:
            self._lose(error)
        finally:
            self.store._counts["released"] += 1
            self.store._leave(self)

    def _note(self, stored: bool) -> None:
        if not stored:
            self._lose(InProgress("its claim had lapsed and another execution took it"))

    def _lose(self, error: Error) -> None:
        self.store._counts["lost"] += 1
        _logger.error("the record of an idempotency key could not be changed: %s", error)


_finishing: set[asyncio.Task[None]] = set()


def _finish(step: Any) -> asyncio.Task[None]:
    """Run *step* to its end, whatever happens to the task that started it."""
    task: asyncio.Task[None] = asyncio.ensure_future(step)
    _finishing.add(task)
    task.add_done_callback(_finishing.discard)
    return task


def _make_storage(storage: Any, clock: Any, max_entries: int, max_bytes: int) -> Storage:
    if storage is None:
        return MemoryStorage(clock or time.monotonic, max_entries, max_bytes)
    if isinstance(storage, RedisTier):
        if clock is not None:
            raise ConfigurationError("clock: expected None with a RedisTier, whose server has the clock")
        return RedisStorage(storage)
    if isinstance(storage, (str, os.PathLike)) or hasattr(storage, "blocking"):
        return SQLiteStorage(storage, clock or time.time, max_entries)
    raise TypeError(f"storage={storage!r}: expected a path, a SQLitePool, a RedisTier or None")


_stores: weakref.WeakSet[IdempotencyStore] = weakref.WeakSet()


def _start_all_anew() -> None:
    for store in list(_stores):
        store._start_anew()


os.register_at_fork(after_in_child=_start_all_anew)
