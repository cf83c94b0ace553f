"""What benchmarks/RESULTS.md has recorded, as one table: each peer, and where it is the faster one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["PEERS", "table"]

_NUMBER = re.compile(r"^([\d.,e+]+)\s*(\S*)")
_NAMES = {"stdlib": "sqlite3", "async_lru": "async-lru"}
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0}


@dataclass(frozen=True)
class Peer:
    """One row: a benchmark's case, and whom it is held against."""

    name: str
    section: str
    case: str
    says: str
    column: int = 0
    """Where its figure is, if the cell does not name it."""
    by_row: bool = False
    """It has a row of its own, as we have (*case*), and the figures of both are in *column*."""
    rate: bool = False


PEERS = [
    Peer("functools.lru_cache", "cache", "hit, 1 int", "hit of a cached function"),
    Peer("functools.lru_cache", "cache", "miss, empty function", "miss of an empty function"),
    Peer("cachetools TTL", "cache", "hit, 1 int", "hit of a cached function"),
    Peer("cachebox TTL", "cache", "hit, 1 int", "hit of a cached function"),
    Peer("cachebox TTLCache", "cache", "Cache.get", "get of a cache"),
    Peer("async_lru", "cache", "async hit", "hit of a coroutine function"),
    Peer("aiocache", "cache", "async hit", "hit of a coroutine function"),
    Peer("cashews", "cache", "async hit", "hit of a coroutine function"),
    Peer("aiosqlite", "sqlite", "key SELECT, async, one at a time", "SELECT by key, nothing cached"),
    Peer("aiosqlite", "sqlite", "mixed, 50 tasks, p99", "50 tasks read and write, P99"),
    Peer("SQLAlchemy", "sqlite", "key SELECT, async, one at a time", "SELECT by key, nothing cached"),
    Peer("stdlib", "sqlite", "key SELECT, blocking", "blocking SELECT by key, nothing cached"),
    Peer("stdlib", "sqlite", "10,000-row executemany", "10,000 rows written"),
    Peer("apsw", "sqlite", "key SELECT, blocking", "blocking SELECT by key, nothing cached"),
    Peer("apsw", "sqlite", "200,000 rows, async", "200,000 rows read"),
    Peer(
        "ThreadPoolExecutor.map",
        "batch",
        "sync function that returns its argument, an item",
        "a function that does nothing, an item",
    ),
    Peer("aiodataloader", "batch", "@batched, an item", "calls put together, a call"),
    Peer("aiohttp", "batch", "2,000 GETs, 10 at a time", "2,000 GETs, 10 at a time"),
    Peer("wrk", "load", "requests/s, 10 connections", "requests sent, 10 connections", rate=True),
    Peer("aiohttp", "load", "requests/s, 10 connections", "requests sent, 10 connections", rate=True),
    Peer(
        "Locust FastHttpUser",
        "load",
        "requests/s, 10 connections",
        "requests sent, 10 connections",
        rate=True,
    ),
    Peer("sqlparse", "query", "this package", "fingerprint of a statement, us", 1, by_row=True),
    Peer("sqlglot", "query", "this package", "fingerprint of a statement, us", 1, by_row=True),
    Peer("redis-py", "redis", "GET, sync, one at a time", "GET, one at a time"),
    Peer("redis-py", "redis", "GET, asyncio, 50 in flight", "GET, 50 in flight"),
    Peer("GLIDE", "redis", "GET, asyncio, 50 in flight", "GET, 50 in flight"),
    Peer("diskcache", "sqlite tier", "warm hit, get", "hit of what this process has used", 2),
    Peer("diskcache", "sqlite tier", "hit of what another process wrote", "hit of what another wrote", 2),
    Peer("diskcache", "sqlite tier", "write", "write", 2),
    Peer(
        "prometheus-fastapi-instrumentator",
        "monitoring",
        "mcp-performance",
        "CPU added to a request, us",
        column=2,
        by_row=True,
    ),
    Peer(
        "starlette-exporter",
        "monitoring",
        "mcp-performance",
        "CPU added to a request, us",
        column=2,
        by_row=True,
    ),
]


def _section(page: str, name: str) -> str:
    found = re.search(rf"<!-- {name}:begin -->(.*?)<!-- {name}:end -->", page, re.DOTALL)
    if found is None:
        raise SystemExit(f"benchmarks/RESULTS.md has no section {name}")
    return found[1]


def _rows(section: str) -> Iterator[list[str]]:
    """The rows of all its tables; an empty first cell is that of the row above."""
    first = ""
    for line in section.splitlines():
        if line.startswith("|"):
            cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
            first = cells[0] = cells[0] or first
            yield cells


def _in_cells(peer: Peer, cells: list[str]) -> str | None:
    """The peer's figure: the cell after its name, or what stands in one cell with it."""
    if peer.column:
        return cells[peer.column]
    for index, cell in enumerate(cells[2:], 2):
        if cell == peer.name:
            return cells[index + 1]
        if cell.startswith(f"{peer.name} "):
            return re.sub(r"^(\d+\.)+\d+ (?=[\d])", "", cell.removeprefix(peer.name).strip())
    return None


def _in_list(peer: Peer, cells: list[str]) -> str | None:
    """The same of a row that lists all: ``name number, name number``."""
    found = re.search(rf"(?:^|, ){re.escape(peer.name)} ([\d.]+)(?:,|$)", cells[-1])
    return None if found is None else f"{found[1]} ns"


def _figures(peer: Peer, rows: list[list[str]]) -> tuple[str, str]:
    """Ours and theirs."""
    of_case = [cells for cells in rows if cells[0] == peer.case]
    if peer.by_row:
        beside = [cells for cells in rows if cells[0] == peer.name]
        if of_case and beside:
            return of_case[0][peer.column].lstrip("+"), beside[0][peer.column].lstrip("+")
    for find in (_in_cells, _in_list):
        for cells in of_case:
            theirs = find(peer, cells)
            if theirs is not None:
                return of_case[0][1], theirs
    raise SystemExit(f"benchmarks/RESULTS.md has no {peer.name} in {peer.case!r} of {peer.section}")


def _value(figure: str) -> float:
    found = _NUMBER.match(figure)
    if found is None:
        raise SystemExit(f"{figure!r} in benchmarks/RESULTS.md is no figure")
    return float(found[1].replace(",", "")) * _UNITS.get(found[2], 1.0)


def table(page: str) -> str:
    """The table of all peers, from the text of benchmarks/RESULTS.md."""
    lines = ["| beside | what | here | there | here is faster by |", "|---|---|--:|--:|--:|"]
    for peer in PEERS:
        ours, theirs = _figures(peer, list(_rows(_section(page, peer.section))))
        ratio = _value(ours) / _value(theirs) if peer.rate else _value(theirs) / _value(ours)
        digits = 0 if ratio >= 10 else 1 if ratio >= 2 else 2
        unit = " /s" if peer.rate else ""
        name = _NAMES.get(peer.name, peer.name).removesuffix(" TTL")
        lines.append(f"| {name} | {peer.says} | {ours}{unit} | {theirs}{unit} | {ratio:.{digits}f} x |")
    return "\n".join(lines) + "\n"
