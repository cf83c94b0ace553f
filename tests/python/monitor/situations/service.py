"""Small services, each with one known fault, for uvicorn: ``SITUATION=name uvicorn --factory service:app``.

``GET /record`` answers what its monitor is told of.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from mcp_performance import PerformanceMiddleware, PerformanceMonitor, QueryAnalyzer, SQLitePool, cached

Handler = Callable[[Request], Awaitable[Response]]


class State:
    """What a service has."""

    def __init__(self) -> None:
        self.pool: SQLitePool[Any] | None = None
        self.monitor = PerformanceMonitor()
        self.leaked: list[socket.socket] = []


state = State()


def pool() -> SQLitePool[Any]:
    assert state.pool is not None
    return state.pool


def number(request: Request) -> int:
    return int(request.path_params["number"])


async def remote(key: int) -> int:
    """Stands for another service that answers after 20 ms."""
    await asyncio.sleep(0.02)
    return key


short_lived = cached(ttl=0.1, maxsize=1000, name="prices")(remote)
small = cached(ttl=60, maxsize=20, name="articles")(remote)
cleared = cached(ttl=60, maxsize=1000, name="users", tags=["users"])(remote)


async def healthy(request: Request) -> Response:
    return JSONResponse(
        {"name": await pool().fetchval("SELECT name FROM items WHERE id = ?", (number(request),))}
    )


async def ttl(request: Request) -> Response:
    return JSONResponse(await short_lived(number(request) % 20))


async def capacity(request: Request) -> Response:
    return JSONResponse(await small(number(request) % 40))


async def invalidation(request: Request) -> Response:
    if number(request) % 10 == 0:
        cleared.cache.invalidate_tags("users")
    return JSONResponse(await cleared(number(request) % 50))


async def index(request: Request) -> Response:
    rows = await pool().fetch("SELECT id, name FROM items WHERE owner = ? ORDER BY name", (number(request),))
    return JSONResponse(len(rows))


async def narrow_pool(request: Request) -> Response:
    sql = "SELECT sum(length(name)) FROM items WHERE id BETWEEN ? AND ?"
    return JSONResponse(await pool().fetchval(sql, (number(request), number(request) + 100_000)))


async def writer(request: Request) -> Response:
    async with pool().transaction() as transaction:
        await transaction.execute("UPDATE items SET owner = owner + 1 WHERE id = ?", (number(request),))
        await remote(0)
    return JSONResponse("done")


async def repeated(request: Request) -> Response:
    first = number(request) % 1000 * 50
    sql = "SELECT name FROM items WHERE id = ?"
    return JSONResponse([await pool().fetchval(sql, (first + at,)) for at in range(1, 51)])


async def blocked(request: Request) -> Response:
    if number(request) % 4 == 0:
        time.sleep(0.12)  # noqa: ASYNC251
    return JSONResponse("done")


async def computing(request: Request) -> Response:
    return JSONResponse(sum(n * n for n in range(300_000)))


async def failing(request: Request) -> Response:
    return JSONResponse({0: "zero"}[number(request) % 5 // 4])


async def leaking(request: Request) -> Response:
    state.leaked.append(socket.socket())
    return JSONResponse("done")


async def upstream(request: Request) -> Response:
    await asyncio.sleep(0.2)
    return JSONResponse("done")


ROUTES: dict[str, Handler] = {
    handler.__name__: handler
    for handler in (
        healthy,
        ttl,
        capacity,
        invalidation,
        index,
        narrow_pool,
        writer,
        repeated,
        blocked,
        computing,
        failing,
        leaking,
        upstream,
    )
}


async def record(_: Request) -> Response:
    queries = [query for query in pool().query_stats() if not query.fingerprint.startswith("CREATE")]
    slow = state.monitor.slow_queries()
    advice = await asyncio.to_thread(QueryAnalyzer(pool()).advise, [(q.sample, float(q.calls)) for q in slow])
    return JSONResponse(
        {
            "metrics": state.monitor.metrics(),
            "queries": [dataclasses.asdict(query) for query in queries],
            "advice": [dataclasses.asdict(one) for one in advice],
        }
    )


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[None]:
    size = 2 if os.environ["SITUATION"] == "narrow_pool" else 5
    kept = 0 if os.environ["SITUATION"] == "repeated" else 1 << 20  # bytes of results
    path = Path(os.environ["DATABASE"])
    async with SQLitePool(path, size, name="shop", query_cache_bytes=kept) as opened:
        state.pool = opened
        await opened.execute("CREATE TABLE items (id INTEGER PRIMARY KEY, owner INTEGER, name TEXT)")
        rows = (
            (at % 5000, f"item {at}")
            for at in range(1_000_000 if os.environ["SITUATION"] == "index" else 100_000)
        )
        await opened.executemany("INSERT INTO items (owner, name) VALUES (?, ?)", rows)
        yield


def app() -> PerformanceMiddleware:
    """The service that the environment names."""
    name = os.environ["SITUATION"]
    routes = [Route(f"/{name}/{{number:int}}", ROUTES[name]), Route("/record", record)]
    return PerformanceMiddleware(
        Starlette(routes=routes, lifespan=lifespan), monitor=state.monitor, expose=True
    )
