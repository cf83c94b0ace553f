"""Where an :class:`IdempotencyStore` keeps its records: memory, a SQLite file, or Redis.

A record is first a claim, with an owner and the time when it lapses, then a result with the time when it
is forgotten. Every storage decides between rivals for a key in one atomic step.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from ..errors import ProtocolError
from ..sqlite import SQLitePool
from ..tiers._keys import encode_key, spell
from ..tiers._redis import RedisTier, raise_errors

__all__ = ["Claimed", "MemoryStorage", "Record", "RedisStorage", "SQLiteStorage", "Storage"]


@dataclass(frozen=True, slots=True)
class Claimed:
    """The key is the caller's."""


@dataclass(frozen=True, slots=True)
class Record:
    """Somebody else's record: a claim, or a result if *done*."""

    fingerprint: str
    done: bool
    result: Any = None


class Storage(Protocol):
    """The steps, each for threads and for event loops. Times are seconds on the storage's clock."""

    needs_bytes: bool
    """Whether results must be ``bytes``."""

    def claim(self, key: str, fingerprint: str, owner: str, lease: float) -> Claimed | Record: ...
    async def aclaim(self, key: str, fingerprint: str, owner: str, lease: float) -> Claimed | Record: ...
    def complete(self, key: str, fingerprint: str, owner: str, result: Any, ttl: float) -> bool: ...
    async def acomplete(self, key: str, fingerprint: str, owner: str, result: Any, ttl: float) -> bool: ...
    def release(self, key: str, owner: str) -> None: ...
    async def arelease(self, key: str, owner: str) -> None: ...
    def close(self) -> None: ...
    async def aclose(self) -> None: ...
    def count(self) -> int | None: ...
    @property
    def evicted(self) -> int: ...


class MemoryStorage:
    """Records of this process. Bounded: past either bound the oldest results are forgotten."""

    needs_bytes = False

    def __init__(self, clock: Callable[[], float], max_entries: int, max_bytes: int) -> None:
        self._clock = clock
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._claims: dict[str, tuple[str, str, float]] = {}  # fingerprint, owner, lapses at
        self._results: OrderedDict[str, tuple[str, Any, float, int]] = OrderedDict()  # oldest first
        self._bytes = 0
        self.evicted = 0

    def claim(self, key: str, fingerprint: str, owner: str, lease: float) -> Claimed | Record:
        with self._lock:
            now = self._clock()
            self._expire(now)
            found = self._results.get(key)
            if found is not None:
                return Record(found[0], True, found[1])
            claim = self._claims.get(key)
            if claim is not None and now < claim[2]:
                return Record(claim[0], False)
            self._claims[key] = (fingerprint, owner, now + lease)
            return Claimed()

    def complete(self, key: str, fingerprint: str, owner: str, result: Any, ttl: float) -> bool:
        with self._lock:
            claim = self._claims.get(key)
            if claim is None or claim[1] != owner:
                return False
            del self._claims[key]
            size = len(key) + (len(result) if isinstance(result, bytes) else 0)
            self._results[key] = (fingerprint, result, self._clock() + ttl, size)
            self._bytes += size
            while self._results and (len(self._results) > self._max_entries or self._bytes > self._max_bytes):
                self._forget_oldest()
                self.evicted += 1
            return True

    def release(self, key: str, owner: str) -> None:
        with self._lock:
            claim = self._claims.get(key)
            if claim is not None and claim[1] == owner:
                del self._claims[key]

    async def aclaim(self, key: str, fingerprint: str, owner: str, lease: float) -> Claimed | Record:
        return self.claim(key, fingerprint, owner, lease)

    async def acomplete(self, key: str, fingerprint: str, owner: str, result: Any, ttl: float) -> bool:
        return self.complete(key, fingerprint, owner, result, ttl)

    async def arelease(self, key: str, owner: str) -> None:
        self.release(key, owner)

    def close(self) -> None:
        pass

    async def aclose(self) -> None:
        pass

    def count(self) -> int | None:
        return len(self._results) + len(self._claims)

    def start_anew(self) -> None:
        """In a forked child: the lock may have been held by a thread that does not exist here."""
        self._lock = threading.Lock()

    def _expire(self, now: float) -> None:
        """Forget results past their time: the oldest, since all live equally long."""
        while self._results and next(iter(self._results.values()))[2] <= now:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        _, (_, _, _, size) = self._results.popitem(last=False)
        self._bytes -= size


_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS mcp_idempotency (key TEXT PRIMARY KEY, fingerprint TEXT NOT NULL,"
    " owner TEXT, expires_at REAL NOT NULL, result BLOB) WITHOUT ROWID",
    "CREATE INDEX IF NOT EXISTS mcp_idempotency_expiry ON mcp_idempotency (expires_at)",
)
# An owner means a claim; a claim that lapsed and a result past its time make room for a new claim.
_CLAIM = (
    "INSERT INTO mcp_idempotency (key, fingerprint, owner, expires_at) VALUES (?, ?, ?, ?)"
    " ON CONFLICT (key) DO UPDATE SET fingerprint = excluded.fingerprint, owner = excluded.owner,"
    " expires_at = excluded.expires_at, result = NULL WHERE expires_at <= ? RETURNING owner"
)
_FIND = "SELECT fingerprint, owner, result FROM mcp_idempotency WHERE key = ?"
_COMPLETE = "UPDATE mcp_idempotency SET owner = NULL, result = ?, expires_at = ? WHERE key = ? AND owner = ?"
_RELEASE = "DELETE FROM mcp_idempotency WHERE key = ? AND owner = ?"
_EXPIRE = (
    "DELETE FROM mcp_idempotency WHERE key IN"
    " (SELECT key FROM mcp_idempotency WHERE expires_at <= ? ORDER BY expires_at LIMIT 500)"
)
_EVICT = (
    "DELETE FROM mcp_idempotency WHERE key IN (SELECT key FROM mcp_idempotency WHERE owner IS NULL"
    " ORDER BY expires_at LIMIT max(0, (SELECT count(*) FROM mcp_idempotency) - ?))"
)
_SWEEP_EVERY = 64
_TRIES = 10


class SQLiteStorage:
    """Records in a table of a SQLite database: they survive a restart, and processes share them."""

    needs_bytes = True

    def __init__(
        self, database: str | os.PathLike[str] | SQLitePool, clock: Callable[[], float], max_entries: int
    ) -> None:
        self._owns_pool = not isinstance(database, SQLitePool)
        self._pool = (
            database
            if isinstance(database, SQLitePool)
            else SQLitePool(os.fspath(database), size=2, query_cache_ttl=0)
        )
        self._clock = clock
        self._max_entries = max_entries
        self._claims = 0
        self._is_ready = False
        self.evicted = 0

    def claim(self, key: str, fingerprint: str, owner: str, lease: float) -> Claimed | Record:
        pool = self._pool.blocking
        if not self._is_ready:
            for statement in _SCHEMA:
                pool.execute(statement)
            self._is_ready = True
        if self._is_time_to_sweep():
            pool.execute(_EXPIRE, (self._clock(),))
            self.evicted += pool.execute(_EVICT, (self._max_entries,))
        for _ in range(_TRIES):
            now = self._clock()
            if pool.fetchrow(_CLAIM, (key, fingerprint, owner, now + lease, now), cache=False):
                return Claimed()
            row = pool.fetchrow(_FIND, (key,), cache=False)
            if row is not None:
                return Record(row[0], row[1] is None, row[2])
        raise _contended(key)

    async def aclaim(self, key: str, fingerprint: str, owner: str, lease: float) -> Claimed | Record:
        pool = self._pool
        if not self._is_ready:
            for statement in _SCHEMA:
                await pool.execute(statement)
            self._is_ready = True
        if self._is_time_to_sweep():
            await pool.execute(_EXPIRE, (self._clock(),))
            self.evicted += await pool.execute(_EVICT, (self._max_entries,))
        for _ in range(_TRIES):
            now = self._clock()
            if await pool.fetchrow(_CLAIM, (key, fingerprint, owner, now + lease, now), cache=False):
                return Claimed()
            row = await pool.fetchrow(_FIND, (key,), cache=False)
            if row is not None:
                return Record(row[0], row[1] is None, row[2])
        raise _contended(key)

    def complete(self, key: str, fingerprint: str, owner: str, result: Any, ttl: float) -> bool:
        return bool(self._pool.blocking.execute(_COMPLETE, (result, self._clock() + ttl, key, owner)) == 1)

    async def acomplete(self, key: str, fingerprint: str, owner: str, result: Any, ttl: float) -> bool:
        return bool(await self._pool.execute(_COMPLETE, (result, self._clock() + ttl, key, owner)) == 1)

    def release(self, key: str, owner: str) -> None:
        self._pool.blocking.execute(_RELEASE, (key, owner))

    async def arelease(self, key: str, owner: str) -> None:
        await self._pool.execute(_RELEASE, (key, owner))

    def close(self) -> None:
        if self._owns_pool:
            self._pool.blocking.close()

    async def aclose(self) -> None:
        if self._owns_pool:
            await self._pool.close()

    def count(self) -> int | None:
        return None

    def _is_time_to_sweep(self) -> bool:
        self._claims += 1
        return self._claims % _SWEEP_EVERY == 0


def _contended(key: str) -> ProtocolError:
    return ProtocolError(f"the record of idempotency key {key} came and went {_TRIES} times")


_REDIS_COMPLETE = """
local held = redis.call('GET', KEYS[1])
if held and string.sub(held, 1, #ARGV[1]) == ARGV[1] then
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
  return 1
end
return 0
"""
_REDIS_RELEASE = """
local held = redis.call('GET', KEYS[1])
if held and string.sub(held, 1, #ARGV[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""


class RedisStorage:
    """Records in Redis, which forgets them itself.

    A claim is ``C<owner>:<fingerprint>``, a result ``D<fingerprint>:<bytes>``.
    """

    needs_bytes = True
    evicted = 0

    def __init__(self, tier: RedisTier) -> None:
        self._tier = tier

    def claim(self, key: str, fingerprint: str, owner: str, lease: float) -> Claimed | Record:
        for _ in range(_TRIES):
            taken, held = self._tier._run(self._claiming(key, fingerprint, owner, lease))
            if taken is not None:
                return Claimed()
            if held is not None:
                return _read_record(held)
        raise _contended(key)

    async def aclaim(self, key: str, fingerprint: str, owner: str, lease: float) -> Claimed | Record:
        for _ in range(_TRIES):
            taken, held = await self._tier._arun(self._claiming(key, fingerprint, owner, lease))
            if taken is not None:
                return Claimed()
            if held is not None:
                return _read_record(held)
        raise _contended(key)

    def complete(self, key: str, fingerprint: str, owner: str, result: Any, ttl: float) -> bool:
        return bool(self._tier._run(self._completing(key, fingerprint, owner, result, ttl))[0] == 1)

    async def acomplete(self, key: str, fingerprint: str, owner: str, result: Any, ttl: float) -> bool:
        return bool((await self._tier._arun(self._completing(key, fingerprint, owner, result, ttl)))[0] == 1)

    def release(self, key: str, owner: str) -> None:
        self._tier._run(self._releasing(key, owner))

    async def arelease(self, key: str, owner: str) -> None:
        await self._tier._arun(self._releasing(key, owner))

    def close(self) -> None:
        pass

    async def aclose(self) -> None:
        pass

    def count(self) -> int | None:
        return None

    def _name(self, key: str) -> bytes:
        return spell(self._tier.namespace, "!", encode_key(key))

    def _claiming(self, key: str, fingerprint: str, owner: str, lease: float) -> list[tuple[Any, ...]]:
        name = self._name(key)
        milliseconds = max(1, round(lease * 1000))
        return [
            ("SET", name, f"C{owner}:{fingerprint}", "NX", "PX", milliseconds),
            ("GET", name),
        ]

    def _completing(
        self, key: str, fingerprint: str, owner: str, result: bytes, ttl: float
    ) -> list[tuple[Any, ...]]:
        record = f"D{fingerprint}:".encode() + result
        milliseconds = max(1, round(ttl * 1000))
        return [("EVAL", _REDIS_COMPLETE, 1, self._name(key), f"C{owner}:", record, milliseconds)]

    def _releasing(self, key: str, owner: str) -> list[tuple[Any, ...]]:
        return [("EVAL", _REDIS_RELEASE, 1, self._name(key), f"C{owner}:")]


def _read_record(held: Any) -> Record:
    raise_errors([held])
    head, separator, rest = bytes(held).partition(b":")
    if separator and head[:1] == b"C":
        return Record(rest.decode("ascii", "replace"), False)
    if separator and head[:1] == b"D":
        return Record(head[1:].decode("ascii", "replace"), True, rest)
    raise ProtocolError("an idempotency key holds something that is no record")
