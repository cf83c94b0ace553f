"""The service that a load test runs against when it is given no target."""

from __future__ import annotations

import json
import sqlite3
import tempfile
from pathlib import Path
from typing import Any

from ...cache import cached
from ...errors import ConfigurationError
from ...sqlite import SQLitePool
from .._options import RunOptions
from .._scenario import Request
from .._supervision import Driven, Supervision
from ._asgi import AsgiTarget
from ._target import TargetOptions

__all__ = ["SampleTarget"]

_ITEMS = 1000
_REQUESTS = [Request("GET", "/items/{id}", data=[{"id": number} for number in range(1, _ITEMS + 1)])]


def _create(path: Path) -> None:
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT, price INTEGER)")
        connection.executemany(
            "INSERT INTO item VALUES (?, ?, ?)",
            [(number, f"item {number}", number * 7919 % 10_000) for number in range(1, _ITEMS + 1)],
        )
    connection.close()


def _price_text(cents: int) -> str:
    return f"{cents / 100:.2f} EUR"


class _SampleApp:
    """``GET /items/{id}``: one point SELECT, and one cached function of its result."""

    def __init__(self) -> None:
        self.pool: SQLitePool | None = None
        self._price_text = cached(maxsize=_ITEMS, name="sample service")(_price_text)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or self.pool is None:
            raise RuntimeError(f"the sample service has no {scope['type']}")
        number = int(scope["path"].rpartition("/")[2])
        row = await self.pool.fetchrow("SELECT name, price FROM item WHERE id = ?", (number,), cache=False)
        if row is None:
            await send({"type": "http.response.start", "status": 404, "headers": []})
            await send({"type": "http.response.body", "body": b""})
            return
        body = json.dumps({"id": number, "name": row[0], "price": self._price_text(row[1])}).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


class SampleTarget(AsgiTarget):
    """An ASGI app in this process over a SQLite file of 1,000 rows, which lives as long as a run."""

    def __init__(self, options: TargetOptions) -> None:
        if options.scenario is not None:
            raise ConfigurationError("scenario: expected none with the built-in sample service")
        self._sample = _SampleApp()
        filled = TargetOptions(headers=options.headers, scenario=_REQUESTS, seed=options.seed)
        super().__init__(self._sample, filled, "built-in sample service")

    async def drive(self, options: RunOptions, supervisor: Supervision) -> Driven:
        with tempfile.TemporaryDirectory(prefix="mcp-performance-") as directory:
            path = Path(directory) / "sample.db"
            _create(path)
            async with SQLitePool(path) as pool:
                self._sample.pool = pool
                try:
                    return await super().drive(options, supervisor)
                finally:
                    self._sample.pool = None
