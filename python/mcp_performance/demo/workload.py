"""The requests of the demo: one list, drawn once from a seed, sent in both halves of the run."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from ..sqlite import SQLitePool

__all__ = ["Call", "draw"]

_ORIGINS = ("JFK", "LGA", "EWR")
_WORDS = ("International", "Regional", "County", "San", "New", "Lake", "Field", "Municipal", "Fort", "Saint")
_BOOKINGS_REPEATED = 0.2

# What a visitor does, out of 100 requests.
_MIX = {"board": 35, "aircraft": 20, "search": 15, "delays": 12, "worst": 8, "climate": 5, "booking": 5}


@dataclass(frozen=True, slots=True)
class Call:
    """One request: what it is for, method, path with its query, headers and body."""

    kind: str
    method: str
    path: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


class _Visitor:
    """Draws requests. People look at few things often: days and aircraft are drawn from a skewed law."""

    def __init__(self, seed: int, aircraft: Sequence[str], carriers: Sequence[str], flights: int) -> None:
        self._random = random.Random(seed)
        self._aircraft = list(aircraft)
        self._random.shuffle(self._aircraft)
        self._carriers = carriers
        self._flights = flights
        self._bookings: list[Call] = []

    def _skewed(self, count: int) -> int:
        return min(int(self._random.paretovariate(0.8)) - 1, count - 1)

    def board(self) -> Call:
        day = self._skewed(365)
        origin = self._random.choice(_ORIGINS)
        return Call(
            "flight board",
            "GET",
            f"/flights/board?origin={origin}&month={day // 28 % 12 + 1}&day={day % 28 + 1}",
        )

    def aircraft(self) -> Call:
        return Call(
            "aircraft history", "GET", f"/aircraft/{quote(self._aircraft[self._skewed(len(self._aircraft))])}"
        )

    def search(self) -> Call:
        return Call("airport search", "GET", f"/airports/search?q={self._random.choice(_WORDS)}")

    def delays(self) -> Call:
        return Call("delays by carrier", "GET", f"/carriers/{self._random.choice(self._carriers)}/delays")

    def worst(self) -> Call:
        return Call("worst routes", "GET", f"/routes/worst/{self._random.choice(_ORIGINS)}")

    def climate(self) -> Call:
        return Call("climate document", "GET", f"/documents/climate/{self._random.choice(_ORIGINS)}")

    def booking(self) -> Call:
        if self._bookings and self._random.random() < _BOOKINGS_REPEATED:
            return self._random.choice(self._bookings)
        number = len(self._bookings)
        body = {
            "flight": self._random.randint(1, self._flights),
            "passenger": f"passenger {number}",
            "seat": f"{self._random.randint(1, 40)}{self._random.choice('ABCDEF')}",
        }
        headers = (("Content-Type", "application/json"), ("Idempotency-Key", f"booking-{number}"))
        self._bookings.append(Call("booking", "POST", "/bookings", headers, json.dumps(body).encode()))
        return self._bookings[-1]


async def draw(database: Path, count: int, *, seed: int = 2013) -> list[Call]:
    """Draw *count* requests over what the database holds; the same seed gives the same list."""
    async with SQLitePool(database, size=2) as pool:
        aircraft = [row[0] for row in await pool.fetch("SELECT tailnum FROM planes ORDER BY tailnum")]
        carriers = [row[0] for row in await pool.fetch("SELECT carrier FROM airlines ORDER BY carrier")]
        flights = await pool.fetchval("SELECT max(id) FROM flights")
    visitor = _Visitor(seed, aircraft, carriers, flights)
    kinds = random.Random(seed).choices(list(_MIX), weights=list(_MIX.values()), k=count)
    return [getattr(visitor, kind)() for kind in kinds]
