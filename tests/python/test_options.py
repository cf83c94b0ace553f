"""Every option of every public function: a wrong type is a TypeError, a wrong value a ConfigurationError, and
both name the option and show the value."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import mcp_performance as m
from mcp_performance import ConfigurationError

NAN = float("nan")
INF = float("inf")


async def _app(scope: Any, receive: Any, send: Any) -> None:
    pass


def _load(**options: Any) -> Any:
    return asyncio.run(m.LoadTester(lambda: None).run_load_test(**{"num_requests": 1, **options}))


# option -> values of a wrong type, values of the right type that are wrong
Values = dict[str, tuple[list[Any], list[Any]]]

COUNT: tuple[list[Any], list[Any]] = (["5", 1.5, True, [], b"1"], [0, -1, 2**63])
SECONDS: tuple[list[Any], list[Any]] = (["5", True, [], {}], [-1, NAN])
FLAG: tuple[list[Any], list[Any]] = ([1, 0, "yes", None], [])

TABLE: list[tuple[str, Callable[..., Any], Values]] = [
    (
        "RedisTier",
        lambda **o: m.RedisTier("redis://127.0.0.1:1", **o),
        {
            "namespace": ([1, b"a"], ["", "a\n", "a" * 101]),
            "codec": ([1], ["yaml"]),
            "timeout": (["1", True], [0, -1, NAN, INF, 3601]),
            "max_value_bytes": COUNT,
            "max_in_flight": COUNT,
            "compress_above": (["1", True, 1.5], [-1]),
        },
    ),
    (
        "JsonRpcDispatcher",
        lambda **o: m.JsonRpcDispatcher(**o),
        {"concurrency": COUNT, "max_calls": COUNT, "max_bytes": COUNT, "timeout": SECONDS},
    ),
    (
        "HttpClient",
        lambda **o: m.HttpClient("http://127.0.0.1:1", **o),
        {
            "timeout": (["1", True], [0, -1, NAN, INF]),
            "max_body": (["1", 1.5, True], [0, -1]),
            "follow_redirects": FLAG,
        },
    ),
    (
        "PerformanceMonitor",
        lambda **o: m.PerformanceMonitor(**o),
        {
            "high_cpu": (["1", True], [-1, 101, NAN]),
            "high_memory": (["1", True], [-1, 101, NAN]),
            "low_cache_hit": (["1", True], [-1, 1.1, NAN]),
            "slow_query": (["1", True], [-1, NAN, INF]),
        },
    ),
    (
        "PerformanceMiddleware",
        lambda **o: m.PerformanceMiddleware(_app, **o),
        {
            "prefix": ([1, b"/a"], ["", "/", "a"]),
            "expose": FLAG,
            "rate_limit": (["1", True], [0, -1, NAN, INF]),
            "allow_hosts": (["a", 1], []),
            "allow_origins": (["a", 1], []),
        },
    ),
    (
        "IdempotencyStore",
        lambda **o: m.IdempotencyStore(**o),
        {
            "max_entries": COUNT,
            "max_bytes": COUNT,
            "ttl": ([True, []], [0, -1, NAN]),
            "lease": ([True, []], [0, -1]),
        },
    ),
    (
        "IdempotencyMiddleware",
        lambda **o: m.IdempotencyMiddleware(_app, **o),
        {
            "header": ([1, b"x"], ["", "a b", "ä"]),
            "methods": (["POST", 1], []),
            "principal": ([1], []),
            "required": FLAG,
            "wait": FLAG,
            "max_body_bytes": (["1", True, 1.5], [-1]),
            "max_response_bytes": (["1", True, 1.5], [-1]),
        },
    ),
    (
        "SQLitePool",
        lambda **o: m.SQLitePool("options.db", **o),
        {
            "size": (["5", 1.5, True], [0, -1, 1001]),
            "cache_pages": (["5", 1.5, True], [0, -1, 2**31]),
            "wal": ([1, "yes"], []),
            "query_cache_ttl": (["1", True], [-1, NAN, INF]),
            "slow_query_threshold": (["1", True], [-1, NAN, INF]),
            "query_cache_bytes": (["1", 1.5, True], [-1]),
            "busy_timeout": (["1", True], [-1, NAN, INF]),
            "acquire_timeout": (["1", True], [0, -1, NAN, INF]),
            "inline_budget": (["1", True], [-1, NAN, INF]),
            "synchronous": ([1], ["MAYBE"]),
            "row_type": ([1], ["list"]),
            "init": ([5, "f"], []),
            "tracking": ([1, "yes"], []),
        },
    ),
    (
        "Cache",
        lambda **o: m.Cache(**o),
        {"maxsize": (["5", True], [-1, 2**62]), "policy": ([1], ["fifo"]), "ttl": ([True, []], [0, -1, NAN])},
    ),
    (
        "cached",
        lambda **o: m.cached(**o)(len),
        {
            "maxsize": (["5", True], [-1]),
            "policy": ([1], ["fifo"]),
            "refresh_ahead": (["1", True], [-0.1, 1.1, NAN]),
            "jitter": (["1", True], [-0.1, 1.1, NAN]),
            "negative_ttl": ([True, []], [0, -1, NAN]),
            "stale_ttl": ([True, []], [-1, NAN]),
        },
    ),
    (
        "BatchProcessor",
        lambda **o: m.BatchProcessor(**o),
        {"max_workers": (["5", 1.5, True], [0, -1])},
    ),
    (
        "batched",
        lambda **o: m.batched(**o),
        {"max_size": (["5", 1.5, True], [0, -1]), "max_wait": (["1", True], [-1, NAN])},
    ),
    (
        "LoadTester",
        lambda **o: m.LoadTester(lambda: None, **o),
        {
            "order": ([1], ["random"]),
            "allow_hosts": (["a", 1], []),
            "http2": ([1, "yes", None], []),
            "follow_redirects": FLAG,
            "max_body": COUNT,
            "threads": COUNT,
            "seed": (["1", True, 1.5], [-1]),
        },
    ),
    (
        "run_load_test",
        _load,
        {
            "num_requests": COUNT,
            "concurrent_users": COUNT,
            "duration": (["1", True], [0, -1, NAN, INF]),
            "rate": (["1", True], [0, -1, NAN, INF]),
            "batch_size": COUNT,
            "warmup": (["1", True], [-1, NAN, INF]),
            "timeout": (["1", True], [0, -1, NAN, INF]),
        },
    ),
]

CASES = [
    pytest.param(make, option, value, error, id=f"{name}-{option}-{value!r}")
    for name, make, options in TABLE
    for option, (types, values) in options.items()
    for error, wrong in ((TypeError, types), (ConfigurationError, values))
    for value in wrong
]


@pytest.mark.parametrize(("make", "option", "value", "error"), CASES)
def test_a_wrong_option_is_named_with_its_value(
    make: Callable[..., Any], option: str, value: Any, error: type[Exception]
) -> None:
    with pytest.raises(error) as raised:
        make(**{option: value})
    assert option in str(raised.value)
    assert repr(value) in str(raised.value) or isinstance(value, list)
    # A ConfigurationError is no TypeError, so the two cannot be mixed up.
    assert isinstance(raised.value, ConfigurationError) == (error is ConfigurationError)


def test_nothing_is_left_behind_by_a_constructor_that_refuses(tmp_path: Path) -> None:
    for name, make, options in TABLE:
        if not inspect.isclass(getattr(m, name, None)):
            continue
        for option, (types, _) in options.items():
            for value in types:
                with pytest.raises(TypeError):
                    make(**{option: value})
    assert not [cache for cache in m.PerformanceMonitor().metrics()["tiers"] if "127.0.0.1:1" in str(cache)]


# Functions that are called where their value is needed at once.
def _size(text: str) -> int:
    return len(text)


HOOKS: list[tuple[Callable[..., Any], str]] = [
    *((lambda **o: m.Cache(**o), option) for option in ("weigher", "on_evict", "clock")),
    *((lambda **o: m.cached(**o)(_size), option) for option in ("key", "condition", "copy", "tags", "ttl")),
    *((lambda **o: m.idempotent(**{"key": "x", **o}), option) for option in ("key", "payload")),
    (lambda **o: m.cached(vary=(o["vary"],))(_size), "vary"),
    (lambda **o: m.batched(**o), "key"),
    (lambda **o: m.SQLitePool("options.db", **o), "init"),
    (lambda **o: m.IdempotencyMiddleware(_app, **o), "principal"),
]


async def _waits(*_: Any) -> Any: ...


async def _waits_for_many(*_: Any) -> Any:
    yield 1


class _Waits:
    async def __call__(self, *_: Any) -> Any: ...

    async def method(self, *_: Any) -> Any: ...

    @m.cached_method
    async def kept(self) -> Any: ...


class _WaitsByPartial:
    __call__ = functools.partialmethod(_waits)


WAITS = [
    *(_waits, functools.partial(functools.partial(_waits), 1), staticmethod(_waits), _waits_for_many),
    *(_Waits(), functools.partial(_Waits(), 1), _WaitsByPartial(), _Waits().method, _Waits().__call__),
    *(m.cached(_waits), m.batched(_waits), _Waits.kept),
]


@pytest.mark.parametrize(("make", "option"), HOOKS, ids=[option for _, option in HOOKS])
def test_a_function_that_has_to_be_awaited_is_refused_where_its_value_is_needed(
    make: Callable[..., Any], option: str
) -> None:
    for function in WAITS:
        with pytest.raises(TypeError, match=f"{option}=.*must return its value, not an awaitable"):
            make(**{option: function})


def test_a_default_that_is_set_in_code_is_checked_like_the_option(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(m.config, "DB_WAL_MODE", "x")
    with pytest.raises(TypeError, match="wal='x'"):
        m.SQLitePool(tmp_path / "a.db")
    monkeypatch.setattr(m.config, "IDEMPOTENCY_TTL", None)
    with pytest.raises(ConfigurationError, match="ttl=None"):
        m.IdempotencyStore()
