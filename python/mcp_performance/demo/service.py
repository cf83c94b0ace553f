"""The demo's service: what people write over a database of flights.

One source for both halves of the measurement. With ``caches`` it keeps function results, query results,
documents and idempotent responses for their four lifetimes; without, every request goes to SQLite.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from .. import config
from ..cache import Cache, cached
from ..idempotency import IdempotencyMiddleware, IdempotencyStore
from ..middleware import PerformanceMiddleware
from ..monitor import PerformanceMonitor
from ..sqlite import SQLitePool

__all__ = ["FlightService", "app"]

_BOARD = (
    "SELECT f.*, a.name FROM flights f JOIN airlines a ON a.carrier = f.carrier"
    " WHERE f.origin = ? AND f.month = ? AND f.day = ? ORDER BY f.sched_dep_time LIMIT 40"
)
_DELAYS = (
    "SELECT month, count(*) AS flights, avg(dep_delay) AS departure_delay, avg(arr_delay) AS arrival_delay"
    " FROM flights WHERE carrier = ? GROUP BY month ORDER BY month"
)
_AIRCRAFT = "SELECT * FROM planes WHERE tailnum = ?"
_HISTORY = (
    "SELECT year, month, day, carrier, flight, origin, dest, arr_delay FROM flights"
    " WHERE tailnum = ? ORDER BY time_hour DESC LIMIT 100"
)
_SEARCH = "SELECT faa, name FROM airports WHERE name LIKE '%' || ? || '%' ORDER BY name LIMIT 20"
_WORST = (
    "SELECT origin, dest, count(*) AS flights, avg(arr_delay) AS delay FROM flights"
    " WHERE origin = ? AND arr_delay IS NOT NULL GROUP BY dest"
    " HAVING count(*) >= 50 ORDER BY delay DESC LIMIT 10"
)
_FLIGHT = "SELECT id, carrier, flight, origin, dest, time_hour FROM flights WHERE id = ?"
_CLIMATE = (
    "SELECT month, avg(temp) AS temperature, avg(wind_speed) AS wind, sum(precip) AS rain FROM weather"
    " WHERE origin = ? GROUP BY month ORDER BY month"
)
_BOOK = "INSERT INTO bookings (flight_id, passenger, seat) VALUES (?, ?, ?) RETURNING id"


class FlightService:
    """The handlers, and what they share."""

    def __init__(self, database: str | os.PathLike[str], *, caches: bool) -> None:
        self.pool = SQLitePool(
            database, query_cache_ttl=config.QUERY_CACHE_TTL if caches else 0, row_type="dict"
        )
        self.documents: Cache[str, dict[str, Any]] | None = (
            Cache(256, ttl=config.CACHE_TTL, name="documents") if caches else None
        )
        self.worst_routes = (
            cached(ttl="10m", name="worst_routes")(self._worst_routes) if caches else self._worst_routes
        )

    async def board(self, request: Request) -> JSONResponse:
        """The next departures of one airport on one day."""
        query = request.query_params
        month, day = int(query["month"]), int(query["day"])
        return JSONResponse(await self.pool.fetch(_BOARD, (query["origin"], month, day)))

    async def delays(self, request: Request) -> JSONResponse:
        """A carrier's average delays, month by month."""
        return JSONResponse(await self.pool.fetch(_DELAYS, (request.path_params["carrier"],)))

    async def aircraft(self, request: Request) -> JSONResponse:
        """One aircraft and where it has been."""
        tail = request.path_params["tailnum"]
        flights = await self.pool.fetch(_HISTORY, (tail,))
        if not flights:
            raise HTTPException(404, f"no aircraft {tail}")
        return JSONResponse({"aircraft": await self.pool.fetchrow(_AIRCRAFT, (tail,)), "flights": flights})

    async def search(self, request: Request) -> JSONResponse:
        """Airports with a word in their name."""
        return JSONResponse(await self.pool.fetch(_SEARCH, (request.query_params["q"],)))

    async def worst(self, request: Request) -> JSONResponse:
        """The routes from one airport that arrive latest: a result worth keeping as a whole."""
        return JSONResponse(await self.worst_routes(request.path_params["origin"]))

    async def _worst_routes(self, origin: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = await self.pool.fetch(_WORST, (origin,))
        return rows

    async def climate(self, request: Request) -> JSONResponse:
        """A document that changes slowly: an airport's year of weather."""
        origin = request.path_params["origin"]
        if self.documents is None:
            return JSONResponse(await self._climate(origin))
        return JSONResponse(await self.documents.aget_or_load(origin, self._climate))

    async def _climate(self, origin: str) -> dict[str, Any]:
        return {"airport": origin, "months": await self.pool.fetch(_CLIMATE, (origin,))}

    async def book(self, request: Request) -> JSONResponse:
        """Book a seat. A repeat with the same Idempotency-Key gets the first answer, for 24 hours."""
        body = await request.json()
        flight = await self.pool.fetchrow(_FLIGHT, (body["flight"],))
        if flight is None:
            raise HTTPException(404, f"no flight {body['flight']}")
        booking = await self.pool.fetchval(_BOOK, (flight["id"], body["passenger"], body["seat"]))
        return JSONResponse({"booking": booking, **flight}, status_code=201)

    def routes(self) -> list[Route]:
        """The endpoints."""
        return [
            Route("/flights/board", self.board),
            Route("/carriers/{carrier}/delays", self.delays),
            Route("/aircraft/{tailnum}", self.aircraft),
            Route("/airports/search", self.search),
            Route("/routes/worst/{origin}", self.worst),
            Route("/documents/climate/{origin}", self.climate),
            Route("/bookings", self.book, methods=["POST"]),
        ]


def app(database: str | os.PathLike[str] | None = None, *, caches: bool | None = None) -> Any:
    """The service as an ASGI application; ``uvicorn --factory mcp_performance.demo.service:app``.

    Without arguments the settings come from ``FLIGHTS_DATABASE`` and ``FLIGHTS_CACHES`` (0 or 1).
    """
    path = Path(database if database is not None else os.environ["FLIGHTS_DATABASE"])
    if caches is None:
        caches = os.environ.get("FLIGHTS_CACHES", "1") == "1"
    service = FlightService(path, caches=caches)
    store = IdempotencyStore(ttl=config.IDEMPOTENCY_TTL) if caches else None

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await service.pool.fetchval("SELECT 1")
        yield

    inner: Any = Starlette(routes=service.routes(), lifespan=lifespan)
    if store is not None:
        inner = IdempotencyMiddleware(inner, store=store)
    monitor = PerformanceMonitor(database=path)
    return PerformanceMiddleware(inner, monitor=monitor, expose=True, resources=(service.pool,))
