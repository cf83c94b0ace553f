"""Records in a SQLite database."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..sqlite import SQLitePool
from ._storage import TRIES, Claimed, Record, contended

if TYPE_CHECKING:
    from ..sqlite._blocking import BlockingPool

__all__ = ["SQLiteStorage"]

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
_COMPLETE = (
    "INSERT INTO mcp_idempotency (key, fingerprint, owner, expires_at, result) VALUES (?, ?, NULL, ?, ?)"
    " ON CONFLICT (key) DO UPDATE SET owner = NULL, result = excluded.result,"
    " expires_at = excluded.expires_at WHERE owner = ?"
)
_RENEW = (
    "INSERT INTO mcp_idempotency (key, fingerprint, owner, expires_at) VALUES (?, ?, ?, ?)"
    " ON CONFLICT (key) DO UPDATE SET expires_at = excluded.expires_at WHERE owner = excluded.owner"
)
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


class SQLiteStorage:
    """Records in a table of a SQLite database: they survive a restart, and processes share them."""

    needs_bytes = True
    is_shared = True

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
        pool = self._with_table()
        if self._is_time_to_sweep():
            pool.execute(_EXPIRE, (self._clock(),))
            self.evicted += pool.execute(_EVICT, (self._max_entries,))
        for _ in range(TRIES):
            now = self._clock()
            if pool.fetchrow(_CLAIM, (key, fingerprint, owner, now + lease, now), cache=False):
                return Claimed()
            row = pool.fetchrow(_FIND, (key,), cache=False)
            if row is not None and row[1] == owner:
                return Claimed()
            if row is not None:
                return Record(row[0], row[1] is None, row[2])
        raise contended(key)

    async def aclaim(self, key: str, fingerprint: str, owner: str, lease: float) -> Claimed | Record:
        pool = await self._awith_table()
        if self._is_time_to_sweep():
            await pool.execute(_EXPIRE, (self._clock(),))
            self.evicted += await pool.execute(_EVICT, (self._max_entries,))
        for _ in range(TRIES):
            now = self._clock()
            if await pool.fetchrow(_CLAIM, (key, fingerprint, owner, now + lease, now), cache=False):
                return Claimed()
            row = await pool.fetchrow(_FIND, (key,), cache=False)
            if row is not None and row[1] == owner:
                return Claimed()
            if row is not None:
                return Record(row[0], row[1] is None, row[2])
        raise contended(key)

    def complete(self, key: str, fingerprint: str, owner: str, result: Any, ttl: float) -> bool:
        pool = self._with_table()
        if pool.execute(_COMPLETE, (key, fingerprint, self._clock() + ttl, result, owner)) == 1:
            return True
        return _is_stored(pool.fetchrow(_FIND, (key,), cache=False), fingerprint, result)

    async def acomplete(self, key: str, fingerprint: str, owner: str, result: Any, ttl: float) -> bool:
        pool = await self._awith_table()
        if await pool.execute(_COMPLETE, (key, fingerprint, self._clock() + ttl, result, owner)) == 1:
            return True
        return _is_stored(await pool.fetchrow(_FIND, (key,), cache=False), fingerprint, result)

    def renew(self, key: str, fingerprint: str, owner: str, lease: float) -> bool:
        claim = (key, fingerprint, owner, self._clock() + lease)
        return bool(self._with_table().execute(_RENEW, claim) == 1)

    def release(self, key: str, owner: str) -> None:
        self._with_table().execute(_RELEASE, (key, owner))

    async def arelease(self, key: str, owner: str) -> None:
        await (await self._awith_table()).execute(_RELEASE, (key, owner))

    def close(self) -> None:
        if self._owns_pool:
            self._pool.blocking.close()

    async def aclose(self) -> None:
        if self._owns_pool:
            await self._pool.close()

    def count(self) -> int | None:
        return None

    # Each way in makes the table: a claim that failed may be released before any has succeeded.
    def _with_table(self) -> BlockingPool[Any]:
        pool = self._pool.blocking
        if not self._is_ready:
            for statement in _SCHEMA:
                pool.execute(statement)
            self._is_ready = True
        return pool

    async def _awith_table(self) -> SQLitePool:
        if not self._is_ready:
            for statement in _SCHEMA:
                await self._pool.execute(statement)
            self._is_ready = True
        return self._pool

    def _is_time_to_sweep(self) -> bool:
        self._claims += 1
        return self._claims % _SWEEP_EVERY == 0


def _is_stored(row: Any, fingerprint: str, result: Any) -> bool:
    """Whether a record is what an earlier try stored, whose answer was lost."""
    return row is not None and row[1] is None and row[0] == fingerprint and row[2] == result
