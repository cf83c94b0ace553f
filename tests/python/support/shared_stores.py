"""What tiers share, of either kind: a Redis server or a SQLite file. Tests that hold for both take one."""

from __future__ import annotations

import os
import secrets
import tempfile
import time
from pathlib import Path
from typing import Any, Protocol

from mcp_performance import RedisTier, SQLitePool, SQLiteTier


class Store(Protocol):
    """A server, or what stands for one."""

    @property
    def url(self) -> str: ...

    def cli(self, *words: str | bytes) -> str: ...


def tier_of(url: str, **options: Any) -> RedisTier:
    return SQLiteTier(url, **options) if url.startswith("sqlite:") else RedisTier(url, **options)


class SQLiteFile:
    """A file, and what is done to it from outside, by the words that redis-cli has for that."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="mcp_sqlite_tier_")
        self.path = str(Path(self._folder.name) / "cache.db")
        self.url = f"sqlite:///{self.path}"

    def cli(self, *words: str | bytes) -> str:
        match words:
            case ("DEL", bytes(name)):
                with SQLiteTier(self.url) as tier:
                    tier._client.call([tier._dropping(tier._link, {name: b"9" * 16}, "")])
            case ("FLUSHALL",):
                if os.path.exists(self.path):
                    os.unlink(self.path)
            case ("SWAPDB", _, _):
                other = f"{self.path}.{secrets.token_hex(4)}"
                with SQLiteTier(f"sqlite:///{other}") as tier:
                    tier.ping()
                os.replace(other, self.path)
            case ("PEXPIRE", bytes(name), "0"):
                self._sql("UPDATE record SET expires = 1 WHERE name = ?", (name,))
            case ("PTTL", bytes(name)):
                ends = self._sql("SELECT expires / 1000 FROM record WHERE name = ?", (name,))
                return str(int(ends) - time.time_ns() // 1_000_000)
            case ("DBSIZE",):
                return self._sql("SELECT count(*) FROM record")
            case _:
                raise ValueError(f"{words}: not a word that a file knows")
        return ""

    def _sql(self, sql: str, params: tuple[Any, ...] = ()) -> str:
        with SQLitePool(self.path, size=1).blocking as pool:
            if sql.startswith("SELECT"):
                return str(pool.fetchval(sql, params))
            return str(pool.execute(sql, params))

    def stop(self) -> None:
        self._folder.cleanup()
