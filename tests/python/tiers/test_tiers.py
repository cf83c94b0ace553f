"""RedisTier and TieredCache against a real server, and without one."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import os
import re
import signal
import subprocess
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mcp_performance import (
    BackendUnavailable,
    Cache,
    CacheBackend,
    ConfigurationError,
    ProtocolError,
    RedisTier,
    SerializationError,
    TieredCache,
    cached,
)
from mcp_performance.tiers._link import Answer, Ask, Steps
from redis_server import RedisServer, eventually, free_port, redis_server

PATIENT = 20.0
"""A timeout for tests that are not about time, on a machine that may be busy, seconds."""


@pytest.fixture(scope="module")
def shared_server() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@pytest.fixture
def server(shared_server: RedisServer) -> RedisServer:
    """A running server without data."""
    shared_server.cli("FLUSHALL")
    return shared_server


@pytest.fixture
def tier(server: RedisServer) -> Iterator[RedisTier]:
    with RedisTier(server.url, timeout=PATIENT) as tier:
        yield tier


@pytest.fixture
def tiered(tier: RedisTier) -> Iterator[TieredCache]:
    cache = TieredCache(Cache(100), tier)
    yield cache
    cache.close()


# -- RedisTier


def test_a_value_is_shared_between_tiers_of_one_namespace(server: RedisServer, tier: RedisTier) -> None:
    tier.set(("f", 1), {"a": (1, 2)}, ttl=60)
    with RedisTier(server.url, timeout=PATIENT) as same, RedisTier(server.url, namespace="other") as other:
        assert same.get(("f", 1)) == {"a": (1, 2)}
        assert other.get(("f", 1), "none") == "none"
        assert same.delete(("f", 1)) is True
        assert tier.get(("f", 1)) is None
        assert tier.delete(("f", 1)) is False


async def test_the_awaited_twins_do_the_same(tier: RedisTier) -> None:
    await tier.aset("k", [1], ttl="1m")
    assert await tier.aget("k") == [1]
    assert await tier.adelete("k") is True
    assert await tier.aget("k", 7) == 7
    await tier.aping()


async def test_many_awaited_commands_each_get_their_own_answer(tier: RedisTier) -> None:
    await asyncio.gather(*(tier.aset(i, i) for i in range(300)))
    assert await asyncio.gather(*(tier.aget(i) for i in range(300))) == list(range(300))


def test_threads_share_one_connection(server: RedisServer, tier: RedisTier) -> None:
    wrong: list[Any] = []

    def work(number: int) -> None:
        for i in range(50):
            tier.set((number, i), [number, i])
            if tier.get((number, i)) != [number, i]:
                wrong.append((number, i))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert tier.stats().connections == 1


async def test_a_cancelled_command_shifts_nobodys_answer(tier: RedisTier) -> None:
    for i in range(20):
        await tier.aset(i, i)
    for _ in range(20):
        tasks = [asyncio.ensure_future(tier.aget(i)) for i in range(20)]
        await asyncio.sleep(0)
        for task in tasks[::3]:
            task.cancel()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        for i, answer in enumerate(answers):
            assert answer == i or (i % 3 == 0 and isinstance(answer, asyncio.CancelledError))


def test_a_closed_loop_loses_its_answers_and_nothing_else(tier: RedisTier) -> None:
    async def leave() -> None:
        task = asyncio.ensure_future(tier.aget("k"))
        await asyncio.sleep(0)
        assert not task.done()

    for _ in range(5):
        loop = asyncio.new_event_loop()
        loop.run_until_complete(leave())
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
    assert asyncio.run(tier.aget("k")) is None
    assert tier.stats().in_flight == 0


def test_a_lifetime_is_passed_on(server: RedisServer, tier: RedisTier) -> None:
    tier.set("k", 1, ttl=100)
    tier.set("for ever", 1, ttl=None)
    tier.set("default", 1)
    name = tier._spell("k")
    assert 90_000 < int(server.cli("PTTL", name)) <= 100_000
    assert server.cli("PTTL", tier._spell("for ever")) == "-1"
    assert 290_000 < int(server.cli("PTTL", tier._spell("default"))) <= 300_000


@pytest.mark.parametrize(
    "data", [b"", b"garbage", b"\xc1\x01m\0", b"\xc1\x02m\0\x01", b"\xc1\x01p\0" + bytes(99)]
)
def test_a_value_that_cannot_be_read_is_a_counted_miss(
    server: RedisServer, tier: RedisTier, data: bytes
) -> None:
    subprocess.run(
        ["redis-cli", "-p", str(server.port), "-x", "SET", tier._spell("k")], input=data, check=True,
        capture_output=True,
    )  # fmt: skip
    assert tier.get("k", "miss") == "miss"
    assert tier.stats().unreadable == 1
    assert tier.stats().misses == 1


def test_a_value_that_cannot_be_carried_is_not_sent(server: RedisServer, tier: RedisTier) -> None:
    with pytest.raises(SerializationError):
        tier.set("k", object())
    with pytest.raises(SerializationError):
        tier.set(object(), 1)
    assert server.cli("DBSIZE") == "0"


def test_a_key_that_holds_something_else_is_a_protocol_error(server: RedisServer, tier: RedisTier) -> None:
    server.cli("RPUSH", tier._spell("k"), "x")
    with pytest.raises(ProtocolError, match="WRONGTYPE"):
        tier.get("k")
    assert tier.stats().error_replies == {"WRONGTYPE": 1}


def test_errors_of_the_server_are_typed() -> None:
    with redis_server() as server, RedisTier(server.url, timeout=PATIENT) as tier:
        server.cli("CONFIG", "SET", "maxmemory", "1")
        with pytest.raises(BackendUnavailable, match="OOM"):
            tier.set("k", 1)
        server.cli("CONFIG", "SET", "maxmemory", "0")
        server.cli("REPLICAOF", "127.0.0.1", str(free_port()))
        with pytest.raises(BackendUnavailable, match="READONLY"):
            tier.set("k", 1)


def test_a_password_opens_and_is_never_shown() -> None:
    with redis_server("--requirepass", "canary") as server:
        with (
            RedisTier(server.url, timeout=PATIENT) as tier,
            pytest.raises(BackendUnavailable, match="NOAUTH"),
        ):
            tier.ping()
        with RedisTier(f"redis://:canary@127.0.0.1:{server.port}/3", timeout=PATIENT) as tier:
            tier.ping()
            assert "canary" not in repr(tier) + str(tier.stats()) + tier.name
        with (
            RedisTier(f"unix://:canary-not@{server.unix_path}", timeout=PATIENT) as tier,
            pytest.raises(BackendUnavailable, match="WRONGPASS") as failure,
        ):
            tier.ping()
        assert "canary" not in str(failure.value)


def test_tags_end_values_in_every_process(server: RedisServer, tier: RedisTier) -> None:
    tier.set("a", 1, tags=("x", "y"))
    tier.set("b", 2, tags=("x",), ttl=None)
    tier.set("c", 3)
    with RedisTier(server.url, timeout=PATIENT) as other:
        assert other.invalidate_tags("x", "none") == 2
    assert [tier.get(key) for key in "abc"] == [None, None, 3]
    assert tier.invalidate_tags() == 0


def test_without_a_server_operations_fail_typed() -> None:
    with RedisTier(f"redis://127.0.0.1:{free_port()}") as tier:
        for _ in range(3):
            with pytest.raises(BackendUnavailable):
                tier.get("k")
        assert tier.stats().unavailable == 3


async def test_a_stopped_server_times_out_and_comes_back() -> None:
    with redis_server() as server, RedisTier(server.url) as tier:
        assert eventually(lambda: _works(tier))
        server.signal(signal.SIGSTOP)
        with pytest.raises(BackendUnavailable, match=r"within 0\.25 s"):
            await tier.aget("k")
        server.signal(signal.SIGCONT)
        assert eventually(lambda: _works(tier))


def _works(tier: RedisTier) -> bool:
    try:
        tier.ping()
    except BackendUnavailable:
        return False
    return True


def test_scripts_that_the_server_has_forgotten_all_run(server: RedisServer, tier: RedisTier) -> None:
    def store_each(keys: range) -> Steps[list[Any]]:
        names = [tier._spell(key) for key in keys]
        answer: Answer = yield Ask([tier._storing(tier._link, name, "v", None, ()) for name in names])
        return answer.replies

    tier.set("known", 1)
    server.cli("SCRIPT", "FLUSH")
    assert [reply[0] for reply in tier._do(store_each(range(5)))] == [1] * 5
    assert [tier.get(key) for key in range(5)] == ["v"] * 5


def test_a_closed_tier_refuses(server: RedisServer) -> None:
    tier = RedisTier(server.url)
    tier.close()
    tier.close()
    with pytest.raises(BackendUnavailable, match="closed"):
        tier.get("k")


@pytest.mark.parametrize(
    "options",
    [
        {"namespace": ""},
        {"namespace": "a\nb"},
        {"timeout": 0},
        {"timeout": float("nan")},
        {"max_in_flight": 0},
        {"max_value_bytes": -1},
        {"ttl": -1},
        {"codec": "xml"},
    ],
)
def test_a_bad_option_is_a_configuration_error_that_names_it(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        RedisTier("redis://h", **options)


# -- TieredCache


def test_it_is_a_cache_backend(tiered: TieredCache) -> None:
    assert isinstance(tiered, CacheBackend)


def test_a_value_of_another_process_is_read_once_and_then_kept(tier: RedisTier, tiered: TieredCache) -> None:
    tier.set("k", [1])
    assert tiered.get("k") == [1]
    requests = tier.stats().requests
    assert tiered.get("k") is tiered.get("k")
    assert tier.stats().requests == requests
    assert tiered.stats().hits == 3
    assert tiered.stats().misses == 0


def test_a_change_by_anybody_ends_what_is_kept(
    server: RedisServer, tier: RedisTier, tiered: TieredCache
) -> None:
    for change in (
        lambda: tier.set("k", "new"),
        lambda: tier.delete("k"),
        lambda: server.cli("SET", tier._spell("k"), "garbage"),
        lambda: server.cli("PEXPIRE", tier._spell("k"), "0"),
        lambda: server.cli("FLUSHALL"),
        lambda: server.cli("CLIENT", "KILL", "TYPE", "pubsub"),
        lambda: server.cli("CLIENT", "KILL", "TYPE", "normal"),
    ):
        assert eventually(lambda: _kept(tiered, "k", "old"))
        change()
        assert eventually(lambda: tiered.memory.get("k") is None)


def _kept(tiered: TieredCache, key: Any, value: Any) -> bool:
    tiered.set(key, value)
    return tiered.get(key) == value and tiered.memory.get(key) == value


async def test_the_awaited_twins_keep_and_drop_too(tier: RedisTier, tiered: TieredCache) -> None:
    await tiered.aset("k", 1, tags=("t",))
    # The announcement of its own write may end what is kept: the server's order wins.
    while tiered.memory.get("k") is None:
        assert await tiered.aget("k") == 1
    assert await tiered.ainvalidate_tags("t") == 1
    assert tiered.memory.get("k") is None
    assert await tiered.aget("k") is None
    await tiered.aset("k", 2)
    assert await tiered.adelete("k") is True
    assert await tiered.aget("k") is None


def test_what_is_kept_never_outlives_redis(server: RedisServer, tier: RedisTier) -> None:
    now = [0.0]
    cache = TieredCache(Cache(100, clock=lambda: now[0]), tier, memory_ttl=60)
    tier.set("short", 1, ttl=10)
    tier.set("long", 1, ttl=1000)
    tier.set("for ever", 1, ttl=None)
    for key, bound in (("short", 10), ("long", 60), ("for ever", 60)):
        assert cache.get(key) == 1
        left = cache.memory.expires_in(key)
        assert left is not None
        assert bound - 5 < left <= bound
    cache.close()


def test_tags_end_what_is_kept_here_at_once(tiered: TieredCache) -> None:
    tiered.set("a", 1, tags=("x",))
    tiered.set("b", 2)
    assert eventually(lambda: (tiered.get("a"), tiered.memory.get("a"))[1] == 1)
    assert tiered.invalidate_tags("x") == 1
    assert tiered.memory.get("a") is None
    assert tiered.get("b") == 2


def test_a_cached_function_is_loaded_once_for_all_processes(server: RedisServer, tier: RedisTier) -> None:
    loads: list[int] = []

    def make(cache: TieredCache) -> Any:
        @cached(cache=cache, name="square")
        def square(x: int) -> int:
            loads.append(x)
            return x * x

        return square

    one, two = TieredCache(Cache(100), tier), TieredCache(Cache(100), tier)
    first, second = make(one), make(two)
    assert first(3) == second(3) == first(3) == second(3) == 9
    assert loads == [3]
    assert first.cache_invalidate(3) is True
    assert eventually(lambda: second(3) == 9 and loads == [3, 3])
    one.close()
    two.close()


async def test_a_cached_coroutine_function_is_loaded_once(tiered: TieredCache) -> None:
    loads: list[int] = []

    @cached(cache=tiered)
    async def square(x: int) -> int:
        loads.append(x)
        await asyncio.sleep(0)
        return x * x

    assert await asyncio.gather(*(square(4) for _ in range(10))) == [16] * 10
    assert await square(4) == 16
    assert loads == [4]


def test_without_redis_it_works_alone_and_warns_once() -> None:
    loads: list[int] = []
    with RedisTier(f"redis://127.0.0.1:{free_port()}") as tier:
        cache = TieredCache(Cache(100), tier)

        @cached(cache=cache)
        def square(x: int) -> int:
            loads.append(x)
            return x * x

        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            for _ in range(3):
                assert [square(2), square(3)] == [4, 9]
        assert loads == [2, 3]
        assert [warning.category for warning in seen] == [RuntimeWarning]
        assert cache.stats().hits == 4


CALLS: dict[str, Callable[[TieredCache, Any, Any], Any]] = {
    "get": lambda cache, function, coroutine: cache.get("k"),
    "set": lambda cache, function, coroutine: cache.set("k", 1),
    "delete": lambda cache, function, coroutine: cache.delete("k"),
    "set_many": lambda cache, function, coroutine: cache.set_many({"k": 1}),
    "invalidate_tags": lambda cache, function, coroutine: cache.invalidate_tags("t"),
    "function": lambda cache, function, coroutine: function(1),
    "aget": lambda cache, function, coroutine: cache.aget("k"),
    "aset": lambda cache, function, coroutine: cache.aset("k", 1),
    "coroutine": lambda cache, function, coroutine: coroutine(1),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_the_warning_is_of_the_line_that_called(
    call: Callable[[TieredCache, Any, Any], Any],
) -> None:
    with RedisTier(f"redis://127.0.0.1:{free_port()}") as tier, TieredCache(Cache(100), tier) as cache:

        async def coroutine(key: int) -> int:
            return key

        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            found = call(cache, cached(cache=cache)(int), cached(cache=cache)(coroutine))
            if inspect.isawaitable(found):
                await found
        assert len(seen) == 1
        if call is CALLS["coroutine"]:  # whose load is a task of its own
            assert not re.search("/(mcp_performance|asyncio)/", seen[0].filename)
        else:
            assert seen[0].filename == __file__


@pytest.mark.filterwarnings("ignore:.*caches alone")
def test_what_was_deleted_while_redis_was_away_stays_deleted() -> None:
    # The data survives the outage: stopped, not killed.
    with redis_server() as server, RedisTier(server.url) as tier:
        cache = TieredCache(Cache(100), tier)
        for key in ("deleted", "replaced", "tagged"):
            assert eventually(lambda key=key: _stored(tier, key))
            assert eventually(lambda key=key: (cache.get(key), cache.memory.get(key))[1] == "old")
        server.signal(signal.SIGSTOP)
        assert cache.delete("deleted") is True
        cache.set("replaced", "new")
        assert cache.invalidate_tags("t") >= 0
        assert cache.memory.get("tagged") is None
        server.signal(signal.SIGCONT)
        assert eventually(lambda: _is_paid(cache))
        assert cache.get("deleted") is None
        assert cache.get("replaced") != "old"
        assert cache.get("tagged") is None
        cache.close()


def _is_paid(cache: TieredCache) -> bool:
    cache.get("anything")
    return not cache._debts


def _stored(tier: RedisTier, key: str) -> bool:
    try:
        tier.set(key, "old", tags=("t",) if key == "tagged" else ())
    except BackendUnavailable:
        return False
    return True


@pytest.mark.filterwarnings("ignore:.*caches alone")
def test_more_deletions_than_can_be_remembered_empty_the_namespace(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(TieredCache, "_LONGEST_DEBT", 2)
    with redis_server() as server, RedisTier(server.url, namespace="a[b]*", timeout=PATIENT) as tier:
        cache = TieredCache(Cache(100), tier)
        with RedisTier(server.url, namespace="ab", timeout=PATIENT) as neighbour:
            neighbour.set("k", "stays")
            for key in range(5):
                tier.set(key, "old")
            for key in range(4):
                cache._debts.owe(tier._spell(key), cache._latest())
            cache._debts.pay()
            assert [cache.get(key) for key in range(5)] == [None] * 5
            assert neighbour.get("k") == "stays"
        cache.close()


def test_a_server_that_dies_and_returns_with_other_data_is_believed() -> None:
    with redis_server() as server, RedisTier(server.url, timeout=PATIENT) as tier:
        cache = TieredCache(Cache(100), tier)
        tier.set("k", "old")
        assert cache.get("k") == "old"
        server.kill()
        assert eventually(lambda: cache.memory.get("k") is None)
        server.start()
        assert eventually(lambda: _stored_new(tier))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert eventually(lambda: cache.get("k") == "new")
        cache.close()


def _stored_new(tier: RedisTier) -> bool:
    try:
        tier.set("k", "new")
    except BackendUnavailable:
        return False
    return True


def test_one_memory_serves_one_tiered_cache(tier: RedisTier) -> None:
    memory: Cache[Any, Any] = Cache(10)
    first = TieredCache(memory, tier)
    with pytest.raises(ConfigurationError, match="memory="):
        TieredCache(memory, tier)
    first.close()
    TieredCache(memory, tier).close()


def test_names_of_what_memory_has_dropped_are_forgotten(tier: RedisTier) -> None:
    cache = TieredCache(Cache(10), tier)
    cache._kept._limit = 20
    for i in range(100):
        tier.set(i, i)
        assert cache.get(i) == i
    assert len(cache._kept._keys) <= 1024
    cache._kept._limit = 1
    tier.set("last", 1)
    assert cache.get("last") == 1
    assert len(cache._kept._keys) <= 11
    cache.close()


def _native_threads() -> int:
    names = []
    for task in os.listdir("/proc/self/task"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            names.append(Path(f"/proc/self/task/{task}/comm").read_text())
    return names.count("mcp-redis\n")


def test_a_dropped_tiered_cache_leaves_no_thread_behind(server: RedisServer) -> None:
    before = _native_threads()
    tier = RedisTier(server.url, timeout=PATIENT)
    cache = TieredCache(Cache(10), tier)
    tier.set("k", 1)
    assert cache.get("k") == 1
    assert _native_threads() == before + 2
    del cache
    gc.collect()
    assert eventually(lambda: _native_threads() == before + 1)
    tier.close()
    assert eventually(lambda: _native_threads() == before)  # /proc shows it a little longer
