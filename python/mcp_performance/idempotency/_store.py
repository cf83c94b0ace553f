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
from .._base._checks import file_name, flag, function, integer, text
from .._base._durations import seconds
from .._base._stats import Ttl
from ..errors import BackendUnavailable, ConfigurationError, Error, IdempotencyError, InProgress, KeyReused
from ..sqlite import SQLitePool
from ..tiers._codecs import UnreadableValue, ValueCodec
from ..tiers._redis import RedisTier
from ._keeper import Keeper
from ._storage import Claimed, Record, Storage
from ._storage_memory import MemoryStorage
from ._storage_redis import RedisStorage
from ._storage_sqlite import SQLiteStorage

__all__ = ["IdempotencyStats", "IdempotencyStore", "Replay", "Reservation", "fingerprint_of"]

_logger = logging.getLogger("mcp_performance.idempotency")
_UNSET: Any = ...
_PAUSES = (0.02, 0.2)
"""Between tries to claim a key that the storage did not answer, seconds."""


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

    Safe from any thread and any event loop. An execution holds its key until it completes or releases it, for
    as long as its process lives and reaches the storage: its claim is renewed while it runs. A process that
    dies blocks the key for *lease*, no longer. What the storage does not answer is settled by the claim's own
    token: a claim that stands is the caller's, a result that was not taken is offered again, with the
    answer on its way to the caller, until the lease ends. Nobody else's claim stands where one has lapsed
    unseen, or was lost with the storage: then it is made anew, and the result is taken.

    A storage that forgets what it had acknowledged forgets executions with it: Redis after a failover to a
    replica that lacked the last writes (replication is asynchronous), or after a restart from an older
    snapshot; a SQLite file that somebody puts an older one in place of, or deletes. A claim is then missing
    until it is renewed: at once when its own execution finds that the connection was lost or the file is
    another, and three times in *lease*. SQLite with ``synchronous=FULL`` does not forget by itself, and what
    is in a log (``-wal``) that is deleted in use is put into the file.

    Args:
        storage: ``None`` for this process's memory; a path or a :class:`SQLitePool` to survive a restart;
            a :class:`RedisTier` to share between machines.
        ttl: how long a result answers repeats.
        lease: how long a key stays with a process that has died or cannot reach the storage.
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
        chosen = config.IDEMPOTENCY_TTL if ttl is _UNSET else ttl
        lifetime = seconds("ttl", chosen)
        held = seconds("lease", lease)
        if lifetime is None or held is None:
            raise ConfigurationError(
                f"ttl={chosen!r}, lease={lease!r}: expected a number of seconds, not None"
            )
        integer("max_entries", max_entries, 1)
        integer("max_bytes", max_bytes, 1)
        if clock is not None:
            function("clock", clock)
        self._ttl = lifetime
        self._lease = held
        self._storage: Storage = _make_storage(storage, clock, max_entries, max_bytes)
        # For memory the result itself is kept; elsewhere its bytes.
        self._codec = ValueCodec(
            "msgpack", namespace="", signing_key=None, max_value_bytes=max_bytes, compress_above=None
        )
        self._lock = threading.Lock()
        self._running: dict[str, Reservation] = {}
        self._doubtful: dict[str, str] = {}  # owners of claims that may stand though nobody executes, by key
        self._keeper = Keeper(self)
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
        _check_call(key, fingerprint, wait)
        while True:
            reservation = Reservation(self, key, fingerprint, threading.current_thread())
            rival = self._enter(reservation, wait)
            if rival is None:
                try:
                    found = self._claim(reservation)
                except BaseException:
                    self._doubt(reservation)
                    raise
                return self._decide(reservation, found)
            try:
                rival.settles(reservation).result(self._lease)
            except FutureTimeout:
                raise self._refuse_in_progress(key) from None
            if rival.outcome is not None:
                self._counts["replayed"] += 1
                return rival.outcome

    async def abegin(self, key: str, fingerprint: str, *, wait: bool = True) -> Reservation | Replay:
        """:meth:`begin` without blocking the event loop."""
        _check_call(key, fingerprint, wait)
        while True:
            reservation = Reservation(self, key, fingerprint, asyncio.current_task())
            rival = self._enter(reservation, wait)
            if rival is None:
                try:
                    found = await self._aclaim(reservation)
                except BaseException:
                    self._doubt(reservation)
                    raise
                return self._decide(reservation, found)
            try:
                async with asyncio.timeout(self._lease):
                    await asyncio.shield(rival.asettles(reservation))
            except TimeoutError:
                raise self._refuse_in_progress(key) from None
            if rival.outcome is not None:
                self._counts["replayed"] += 1
                return rival.outcome

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

    def _claim(self, reservation: Reservation) -> Claimed | Record:
        """The storage's word. What it does not answer is asked again: its token says whose a claim is."""
        claim = (reservation.key, reservation.fingerprint, reservation.owner, self._lease)
        reservation.era = self._storage.era()
        doubtful = self._doubtful.get(reservation.key)
        for pause in _PAUSES:
            try:
                if doubtful is not None:
                    self._storage.release(reservation.key, doubtful)
                return self._storage.claim(*claim)
            except BackendUnavailable:
                time.sleep(pause)
        return self._storage.claim(*claim)

    async def _aclaim(self, reservation: Reservation) -> Claimed | Record:
        claim = (reservation.key, reservation.fingerprint, reservation.owner, self._lease)
        reservation.era = self._storage.era()
        doubtful = self._doubtful.get(reservation.key)
        for pause in _PAUSES:
            try:
                if doubtful is not None:
                    await self._storage.arelease(reservation.key, doubtful)
                return await self._storage.aclaim(*claim)
            except BackendUnavailable:
                await asyncio.sleep(pause)
        return await self._storage.aclaim(*claim)

    def _doubt(self, reservation: Reservation) -> None:
        """The claim may stand, and nothing will be executed: give it back as soon as the storage answers."""
        self._leave(reservation)
        key, owner = reservation.key, reservation.owner
        if not self._storage.is_shared:
            self._storage.release(key, owner)
            return

        def settle() -> None:
            if self._doubtful.get(key) == owner:
                del self._doubtful[key]

        def give_back() -> None:
            self._storage.release(key, owner)
            settle()

        self._doubtful[key] = owner
        ends = time.monotonic() + self._lease
        self._keeper.try_again(reservation, give_back, lambda: ends, settle)

    def _executing(self) -> list[Reservation]:
        """Whose claims are to be renewed."""
        with self._lock:
            return [one for one in self._running.values() if one.executes and not one.is_given_up]

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
        if rival.outcome is None and (not wait or rival.holder is reservation.holder):
            raise self._refuse_in_progress(reservation.key)
        self._counts["joined"] += 1
        return rival

    def _leave(self, reservation: Reservation, *, stays: bool = False) -> None:
        """Let everyone who waits go on. One that *stays* answers from here until its record stands."""
        with self._lock:
            if not stays and self._running.get(reservation.key) is reservation:
                del self._running[reservation.key]
        for event in (reservation.decided, reservation.ended):
            if not event.done():
                event.set_result(None)

    def _decide(self, reservation: Reservation, found: Claimed | Record) -> Reservation | Replay:
        if isinstance(found, Claimed):
            self._counts["executed"] += 1
            reservation.lapses_at = reservation.began + self._lease
            reservation.renew_at = reservation.began + self._lease / 3
            reservation.executes = True
            reservation.decided.set_result(None)
            if self._storage.is_shared:
                self._keeper.start()
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
        self._doubtful = {}
        self._keeper = Keeper(self)
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
        self.is_given_up = False
        self._is_renewed = False
        self.began = time.monotonic()
        self.era = 0  # of the storage, when it was claimed or renewed last
        self.renew_at = self.lapses_at = self.began
        self.outcome: Replay | None = None
        """The result, for those who wait in this process."""
        self.decided: Future[None] = Future()  # done when it is known whether it executes
        self.ended: Future[None] = Future()
        self._shared: dict[tuple[bool, asyncio.AbstractEventLoop], asyncio.Future[None]] = {}

    def settles(self, other: Reservation) -> Future[None]:
        """What *other* has to wait for before it tries again."""
        return self.ended if self.fingerprint == other.fingerprint else self.decided

    def asettles(self, other: Reservation) -> asyncio.Future[None]:
        """:meth:`settles` for the running event loop, one for all who wait there."""
        event = self.settles(other)
        place = (event is self.ended, asyncio.get_running_loop())
        shared = self._shared.get(place)
        if shared is None:
            shared = self._shared[place] = asyncio.wrap_future(event)
        return shared

    def complete(self, result: Any) -> None:
        """Store *result* for repeats. A storage that does not take it now is offered it again until the lease
        ends; what is lost then is logged and counted: the work is done."""
        self.outcome = Replay(result)
        stays = False
        try:
            self._note(self._store(result))
        except Error as error:
            stays = self._try_again(lambda: self._note(self._store(result)), error)
        finally:
            self.store._leave(self, stays=stays)

    async def acomplete(self, result: Any) -> None:
        """:meth:`complete` without blocking the event loop."""
        self.outcome = Replay(result)
        stays = False
        storage = self.store._storage
        try:
            self._note(
                await storage.acomplete(self.key, self.fingerprint, self.owner, result, self.store._ttl)
            )
        except Error as error:
            stays = self._try_again(lambda: self._note(self._store(result)), error)
        finally:
            self.store._leave(self, stays=stays)

    def release(self) -> None:
        """Let a repeat execute again."""
        if self._gives_up():
            self._give_back()

    async def arelease(self) -> None:
        """:meth:`release` without blocking the event loop; a cancellation does not stop it."""
        if self._gives_up():
            await asyncio.shield(_finish(self._agive_back()))

    def _gives_up(self) -> bool:
        """Whether the claim can be given back now: while it is renewed that could make it anew."""
        self.store._counts["released"] += 1
        with self.store._lock:
            self.is_given_up = True
            return not self._is_renewed

    def _enter_renewal(self) -> bool:
        """Whether it is to be renewed, which :meth:`_leave_renewal` ends."""
        with self.store._lock:
            self._is_renewed = not self.is_given_up
            return self._is_renewed

    def _leave_renewal(self) -> None:
        with self.store._lock:
            self._is_renewed = False
            was_given_up = self.is_given_up
        if was_given_up:
            self._give_back()

    def _give_back(self) -> None:
        try:
            self.store._storage.release(self.key, self.owner)
        except Error as error:
            self._try_again(lambda: self.store._storage.release(self.key, self.owner), error)
        finally:
            self.store._leave(self)

    async def _agive_back(self) -> None:
        try:
            await self.store._storage.arelease(self.key, self.owner)
        except Error as error:
            self._try_again(lambda: self.store._storage.release(self.key, self.owner), error)
        finally:
            self.store._leave(self)

    def _store(self, result: Any) -> bool:
        return self.store._storage.complete(self.key, self.fingerprint, self.owner, result, self.store._ttl)

    def _try_again(self, act: Callable[[], None], error: Error) -> bool:
        """Have *act* done later, since *error* kept it from being done; whether it will be."""
        if not self.store._storage.is_shared:
            self._lose(error)
            return False

        def settled() -> None:
            act()
            self.store._leave(self)

        def give_up() -> None:
            self._lose(error)
            self.store._leave(self)

        self.store._keeper.try_again(self, settled, lambda: self.lapses_at, give_up)
        return True

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


def _check_call(key: str, fingerprint: str, wait: bool) -> None:
    text("key", key)
    text("fingerprint", fingerprint)
    flag("wait", wait)


def _make_storage(storage: Any, clock: Any, max_entries: int, max_bytes: int) -> Storage:
    if storage is None:
        return MemoryStorage(clock or time.monotonic, max_entries, max_bytes)
    if isinstance(storage, RedisTier):
        if clock is not None:
            raise ConfigurationError("clock: expected None with a RedisTier, whose server has the clock")
        return RedisStorage(storage)
    if isinstance(storage, (str, os.PathLike)):
        return SQLiteStorage(file_name("storage", storage), clock or time.time, max_entries)
    if hasattr(storage, "blocking"):
        return SQLiteStorage(storage, clock or time.time, max_entries)
    raise TypeError(f"storage={storage!r}: expected a path, a SQLitePool, a RedisTier or None")


_stores: weakref.WeakSet[IdempotencyStore] = weakref.WeakSet()


def _start_all_anew() -> None:
    for store in list(_stores):
        store._start_anew()


os.register_at_fork(after_in_child=_start_all_anew)
