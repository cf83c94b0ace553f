"""The options of a call mean the same wherever they are taken."""

import decimal
import math
import pathlib
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest

from mcp_performance import ConfigurationError, SQLitePool
from sqlite_entries import Entry


@pytest.fixture
async def pool(tmp_path: pathlib.Path) -> AsyncIterator[SQLitePool]:
    async with SQLitePool(tmp_path / "app.db", size=2, synchronous="OFF") as pool:
        await pool.execute("CREATE TABLE sink (a, b)")
        yield pool


# ---- the options of a call ----


async def _acquire(pool: SQLitePool, **options: Any) -> None:
    async with pool.acquire(**options):
        pass


async def _transact(pool: SQLitePool, **options: Any) -> None:
    async with pool.transaction(**options):
        pass


async def _blocking_acquire(pool: SQLitePool, **options: Any) -> None:
    with pool.blocking.acquire(**options):
        pass


async def _blocking_transact(pool: SQLitePool, **options: Any) -> None:
    with pool.blocking.transaction(**options):
        pass


async def _read_stream(pool: SQLitePool, **options: Any) -> None:
    async for _ in pool.stream("SELECT 1", **options):
        pass


async def _read_blocking_stream(pool: SQLitePool, **options: Any) -> None:
    for _ in pool.blocking.stream("SELECT 1", **options):
        pass


def _call(method: str) -> Entry:
    async def call(pool: SQLitePool, **options: Any) -> None:
        await getattr(pool, method)("SELECT 1", **options)

    return call  # type: ignore[return-value]


def _blocking_call(method: str) -> Entry:
    async def call(pool: SQLitePool, **options: Any) -> None:
        getattr(pool.blocking, method)("SELECT 1", **options)

    return call  # type: ignore[return-value]


FETCHES = {
    **{name: _call(name) for name in ("fetch", "fetchrow", "fetchval")},
    **{f"blocking.{name}": _blocking_call(name) for name in ("fetch", "fetchrow", "fetchval")},
}
TIMED = {
    **FETCHES,
    "execute": _call("execute"),
    "acquire": _acquire,
    "transaction": _transact,
    "blocking.execute": _blocking_call("execute"),
    "blocking.acquire": _blocking_acquire,
    "blocking.transaction": _blocking_transact,
}
ROWED = {**FETCHES, "stream": _read_stream, "blocking.stream": _read_blocking_stream}


@pytest.mark.parametrize(
    ("option", "value", "error"),
    [
        ("timeout", "x", TypeError),
        ("timeout", True, TypeError),
        ("timeout", 1j, TypeError),
        ("timeout", decimal.Decimal(1), TypeError),
        ("timeout", [1], TypeError),
        ("timeout", math.nan, ConfigurationError),
        ("timeout", math.inf, ConfigurationError),
        ("timeout", -1, ConfigurationError),
        ("timeout", 0, ConfigurationError),
        ("timeout", -(10**400), ConfigurationError),
        ("timeout", 10**400, ConfigurationError),
        ("row_type", "x", ConfigurationError),
        ("row_type", 3, TypeError),
        ("row_type", ["tuple"], TypeError),
        ("cache", "x", TypeError),
        ("cache", 1, TypeError),
        ("cache", None, TypeError),
    ],
)
async def test_a_bad_option_is_the_same_error_everywhere(
    pool: SQLitePool, option: str, value: Any, error: type[Exception]
) -> None:
    for call in {"timeout": TIMED, "row_type": ROWED, "cache": FETCHES}[option].values():
        with pytest.raises(error, match=rf"{option}=.*: expected"):
            await call(pool, **{option: value})  # type: ignore[call-arg]


@pytest.mark.parametrize("seconds", [None, 5, 5.0, 1e9, 1e300, 2**80, np.float64(5)])
async def test_a_timeout_is_any_positive_number_everywhere(pool: SQLitePool, seconds: Any) -> None:
    for call in TIMED.values():
        await call(pool, timeout=seconds)  # type: ignore[call-arg]
