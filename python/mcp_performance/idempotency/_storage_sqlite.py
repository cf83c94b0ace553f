"""Records in a SQLite database."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from .. import _core
from ..errors import DatabaseError
from ..sqlite import SQLitePool
from ._storage import TRIES, Claimed, Record, contended

if TYPE_CHECKING:
    from ..sqlite._blocking import BlockingPool

__all__ = ["SQLiteStorage"]

_R = TypeVar("_R")
_TABLE = "mcp_idempotency"
_SQLITE_ERROR, _SQLITE_READONLY_DBMOVED = 1, 1032
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
    """Records in a table of a SQLite database: they survive a restart, and processes share them.

    The table is of the file that lies there: whoever puts another in its place ends what that lacks.
    """

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
        self._lost_tables = 0
        self.evicted = 0

    def era(self) -> int:
        return _core._sqlite_era(self._pool) + self._lost_tables

    def claim(self, key: str, fingerprint: str, owner: str, lease: float) -> Claimed | Record:
        if self._is_time_to_sweep():
            self._do(lambda pool: pool.execute(_EXPIRE, (self._clock(),)))
            self.evicted += self._do(lambda pool: pool.execute(_EVICT, (self._max_entries,)))
        for _ in range(TRIES):
            now = self._clock()
            claim = (key, fingerprint, owner, now + lease, now)
            if self._do(partial(_fetch, _CLAIM, claim)):
                return Claimed()
            found = _record(self._find(key), owner)
            if found is not None:
                return found
        raise contended(key)

    async def aclaim(self, key: str, fingerprint: str, owner: str, lease: float) -> Claimed | Record:
        if self._is_time_to_sweep():
            await self._ado(lambda pool: pool.execute(_EXPIRE, (self._clock(),)))
            self.evicted += await self._ado(lambda pool: pool.execute(_EVICT, (self._max_entries,)))
        for _ in range(TRIES):
            now = self._clock()
            claim = (key, fingerprint, owner, now + lease, now)
            if await self._ado(partial(_afetch, _CLAIM, claim)):
                return Claimed()
            found = _record(await self._afind(key), owner)
            if found is not None:
                return found
        raise contended(key)

    def complete(self, key: str, fingerprint: str, owner: str, result: Any, ttl: float) -> bool:
        record = (key, fingerprint, self._clock() + ttl, result, owner)
        if self._do(lambda pool: pool.execute(_COMPLETE, record)) == 1:
            return True
        return _is_stored(self._find(key), fingerprint, result)

    async def acomplete(self, key: str, fingerprint: str, owner: str, result: Any, ttl: float) -> bool:
        record = (key, fingerprint, self._clock() + ttl, result, owner)
        if await self._ado(lambda pool: pool.execute(_COMPLETE, record)) == 1:
            return True
        return _is_stored(await self._afind(key), fingerprint, result)

    def renew(self, key: str, fingerprint: str, owner: str, lease: float) -> bool:
        claim = (key, fingerprint, owner, self._clock() + lease)
        return bool(self._do(lambda pool: pool.execute(_RENEW, claim)) == 1)

    def release(self, key: str, owner: str) -> None:
        self._do(lambda pool: pool.execute(_RELEASE, (key, owner)))

    async def arelease(self, key: str, owner: str) -> None:
        await self._ado(lambda pool: pool.execute(_RELEASE, (key, owner)))

    def close(self) -> None:
        if self._owns_pool:
            self._pool.blocking.close()

    async def aclose(self) -> None:
        if self._owns_pool:
            await self._pool.close()

    def count(self) -> int | None:
        return None

    def _find(self, key: str) -> Any:
        return self._do(partial(_fetch, _FIND, (key,)))

    async def _afind(self, key: str) -> Any:
        return await self._ado(partial(_afetch, _FIND, (key,)))

    # Each step makes the table: a claim that failed may be released before any has succeeded, and the file
    # may be replaced by one without it.

    def _do(self, step: Callable[[BlockingPool[Any]], _R]) -> _R:
        pool = self._pool.blocking
        for _ in range(TRIES):
            try:
                if not self._is_ready:
                    for statement in _SCHEMA:
                        pool.execute(statement)
                    self._is_ready = True
                return step(pool)
            except DatabaseError as error:
                self._note(error)
        return step(pool)

    async def _ado(self, step: Callable[[SQLitePool], Awaitable[_R]]) -> _R:
        for _ in range(TRIES):
            try:
                if not self._is_ready:
                    for statement in _SCHEMA:
                        await self._pool.execute(statement)
                    self._is_ready = True
                return await step(self._pool)
            except DatabaseError as error:
                self._note(error)
        return await step(self._pool)

    def _note(self, error: DatabaseError) -> None:
        """Raise *error*, unless it says only that another file lies there than was used."""
        has_no_table = error.code & 0xFF == _SQLITE_ERROR and f"no such table: {_TABLE}" in str(error)
        if not has_no_table and error.code != _SQLITE_READONLY_DBMOVED:
            raise error
        self._lost_tables += self._is_ready and has_no_table
        self._is_ready = False

    def _is_time_to_sweep(self) -> bool:
        self._claims += 1
        return self._claims % _SWEEP_EVERY == 0


def _fetch(sql: str, params: tuple[Any, ...], pool: BlockingPool[Any]) -> Any:
    return pool.fetchrow(sql, params, cache=False)


async def _afetch(sql: str, params: tuple[Any, ...], pool: SQLitePool) -> Any:
    return await pool.fetchrow(sql, params, cache=False)


def _record(row: Any, owner: str) -> Claimed | Record | None:
    if row is None:
        return None
    return Claimed() if row[1] == owner else Record(row[0], row[1] is None, row[2])


def _is_stored(row: Any, fingerprint: str, result: Any) -> bool:
    """Whether a record is what an earlier try stored, whose answer was lost."""
    return row is not None and row[1] is None and row[0] == fingerprint and row[2] == result
