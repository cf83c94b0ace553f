"""How a load ends: one table for sync and async functions, in memory and before two kinds of backend."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from backend_support import Backend
from cache_support import Clock
from mcp_performance import Cache, ConfigurationError, RedisTier, TieredCache, cached
from redis_server import RedisServer, redis_server

PATIENT = 20.0


@pytest.fixture(scope="module")
def shared_server() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


Make = Callable[..., Callable[[Callable[[int], Any]], "Under"]]


class Under:
    """A cached function, sync or async, called as if it were sync."""

    def __init__(self, function: Any, runner: asyncio.Runner) -> None:
        self.function = function
        self.run = runner.run

    def __call__(self, x: int) -> Any:
        return self.finish(self.function(x))

    def refresh(self, x: int) -> Any:
        return self.finish(self.function.cache_refresh(x))

    def finish(self, result: Any) -> Any:
        async def wait() -> Any:
            return await result

        return self.run(wait()) if inspect.isawaitable(result) else result


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory", "backend", "bare backend", "tiered"])
def storage(request: Any, shared_server: RedisServer, clock: Clock) -> Iterator[Any]:
    memory: Cache[Any, Any] = Cache(100, clock=clock)
    if request.param == "memory":
        yield memory
    elif request.param == "backend":
        yield Backend(memory)
    elif request.param == "bare backend":
        yield Backend()
    else:
        shared_server.cli("FLUSHALL")
        with RedisTier(shared_server.url, timeout=PATIENT) as tier:
            cache = TieredCache(memory, tier, memory_ttl=None)
            yield cache
            cache.close()


@pytest.fixture(params=["sync", "async"])
def make(request: Any, storage: Any, runner: asyncio.Runner) -> Make:
    def decorate(**options: Any) -> Callable[[Callable[[int], Any]], Under]:
        def wrap(load: Callable[[int], Any]) -> Under:
            if request.param == "sync":

                def f(x: int) -> Any:
                    return load(x)

                return Under(cached(cache=storage, **options)(f), runner)

            async def g(x: int) -> Any:
                await asyncio.sleep(0)
                return load(x)

            return Under(cached(cache=storage, **options)(g), runner)

        return wrap

    return decorate


class Broken(Exception):
    pass


class Tagless(Exception):
    pass


def broken(*args: Any, **kwargs: Any) -> Any:
    raise Broken


def tagless(*args: Any, **kwargs: Any) -> Any:
    raise Tagless


@pytest.mark.parametrize(
    "options",
    [{"condition": broken}, {"ttl": broken}, {"tags": broken}, {"copy": broken}],
    ids=lambda options: next(iter(options)),
)
def test_what_an_option_raises_is_the_result_and_nothing_is_stored(
    make: Make, options: dict[str, Any]
) -> None:
    calls: list[int] = []
    f = make(**options)(calls.append)
    for _ in range(2):
        with pytest.raises(Broken):
            f(1)
    stored = "copy" in options  # the value was good; the caller's copy was not
    assert calls == ([1] if stored else [1, 1])


def test_what_callers_do_with_their_copies_reaches_nobody(make: Make) -> None:
    """Whatever has filled the memory: a load, a backend, or somebody by hand."""
    f = make(copy=list)(lambda x: [x])
    for _ in range(4):
        got = f(1)
        assert got == [1]
        got.append(2)
    memory = getattr(f.function.cache, "memory", f.function.cache)
    if memory is not None:
        memory.set(f.function.cache_key(3), [3])
        for _ in range(2):
            f(3).append(4)
        assert f(3) == [3]


def test_a_template_that_cannot_be_filled_is_the_error_of_the_call(make: Make) -> None:
    f = make(tags=("item:{x.missing}",))(lambda x: x)
    with pytest.raises(AttributeError, match="missing"):
        f(1)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_functions_own_error_counts_more_than_that_of_its_tags(make: Make) -> None:
    calls: list[int] = []

    def load(x: int) -> None:
        calls.append(x)
        raise Broken

    f = make(tags=tagless, negative_ttl=60)(load)
    for _ in range(2):
        with pytest.raises(Broken):
            f(1)
    assert calls == [1, 1]  # not remembered: it would escape its tags


USED_ONCE: dict[str, Callable[[], Any]] = {
    "generator": lambda: (i for i in range(2)),
    "map": lambda: map(str, (1, 2)),
    "reversed": lambda: reversed((1, 2)),
    "list iterator": lambda: iter([1, 2]),
    "items of a dict": lambda: iter({1: 2}.items()),
    "chain": lambda: itertools.chain((1,), (2,)),
    "islice": lambda: itertools.islice([1, 2], 1),
}


@pytest.mark.parametrize("value", ["coroutine", "future", *USED_ONCE])
def test_a_result_that_can_be_used_only_once_is_refused(
    make: Make, runner: asyncio.Runner, value: str
) -> None:
    async def nothing() -> None: ...

    def load(x: int) -> Any:
        if value == "coroutine":
            return nothing()
        if value in USED_ONCE:
            return USED_ONCE[value]()
        return runner.get_loop().create_future()

    f = make()(load)
    with pytest.raises(TypeError, match=r"awaitable|generator"):
        f(1)
    assert not f.function.cache_contains(1)


@pytest.mark.parametrize("value", [{1: 2}.items(), range(3), memoryview(b"a"), itertools.count()])
def test_what_can_be_used_again_and_what_never_ends_is_kept(value: Any) -> None:
    f = cached(lambda: value)
    assert f() is f() is value
    assert f.cache_info().hits == 1


def test_a_condition_that_returns_an_awaitable_is_an_error_and_nothing_is_stored(make: Make) -> None:
    async def later() -> bool:
        return True

    f = make(condition=lambda _: later())(lambda x: x)
    with pytest.raises(TypeError, match="condition= returned an awaitable"):
        f(1)
    assert not f.function.cache_contains(1)


def test_one_miss_is_counted_once_everywhere(make: Make, storage: Any) -> None:
    f = make()(lambda x: x)
    assert f(1) == 1
    assert f.function.cache_info().misses == 1
    if isinstance(storage, Cache):
        assert storage.stats().misses == 1
        assert storage.stats().loads == 1
    else:
        assert storage.memory is None or storage.memory.stats().misses == 1
        if isinstance(storage, TieredCache):
            assert storage.stats().misses == 1
            assert storage.stats().loads == 1


def test_a_refused_value_is_computed_each_time(make: Make) -> None:
    calls: list[int] = []
    f = make(condition=lambda result: False)(calls.append)
    f(1)
    f(1)
    assert calls == [1, 1]


def test_a_failure_is_remembered(make: Make, clock: Clock, storage: Any) -> None:
    calls: list[int] = []

    def load(x: int) -> int:
        calls.append(x)
        raise Broken(x)

    f = make(negative_ttl=10, tags=("t",))(load)
    seen = []
    for _ in range(3):
        with pytest.raises(Broken) as caught:
            f(1)
        seen.append(caught.value)
    assert calls == [1]
    assert len({id(error) for error in seen}) == 3
    assert all(error.args == (1,) for error in seen)
    assert f.function.cache_invalidate(1)
    with pytest.raises(Broken):
        f(1)
    assert calls == [1, 1]
    if getattr(storage, "memory", storage) is not None:
        (storage if isinstance(storage, (Cache, TieredCache)) else storage.memory).invalidate_tags("t")
        with pytest.raises(Broken):
            f(1)
        assert calls == [1, 1, 1]
        clock.now += 11
        with pytest.raises(Broken):
            f(1)
        assert calls == [1, 1, 1, 1]


def has_lifetimes(storage: Any) -> bool:
    return isinstance(storage, (Cache, TieredCache))


def test_a_backend_without_lifetimes_refuses_what_it_cannot_do(make: Make, storage: Any) -> None:
    if has_lifetimes(storage):
        make(stale_ttl=1, ttl=1)(abs)
        make(refresh_ahead=1.0)(abs)
        make(jitter=0.5)(abs)
        return
    for options in ({"stale_ttl": 5}, {"refresh_ahead": 0.5}, {"jitter": 0.5}):
        with pytest.raises(ConfigurationError, match=next(iter(options))):
            make(**options)(abs)
    make(jitter=0.5, ttl=60)(abs)


def warm(f: Under, x: int) -> None:
    """Call twice: a tier takes a value into memory when it is read."""
    f(x)
    f(x)


def test_a_stale_value_is_served_when_the_load_fails(make: Make, storage: Any, clock: Clock) -> None:
    if not has_lifetimes(storage):
        return
    fail = False
    calls: list[int] = []

    def load(x: int) -> int:
        calls.append(x)
        if fail:
            raise Broken
        return len(calls)

    f = make(ttl=10, stale_ttl=40, negative_ttl=5)(load)
    warm(f, 1)
    assert calls == [1]
    clock.now += 11
    fail = True
    assert f(1) == 1  # the failure gives way to the stale value
    assert calls == [1, 1]
    fail = False
    assert f(1) == 3
    assert f(1) == 3


def test_a_value_that_is_stale_behind_memory_is_known_to_be(
    shared_server: RedisServer, runner: asyncio.Runner
) -> None:
    shared_server.cli("FLUSHALL")
    with RedisTier(shared_server.url, timeout=PATIENT) as tier:
        cache = TieredCache(Cache(), tier)
        fail = False

        @cached(cache=cache, ttl=100, stale_ttl=1000)
        def f(x: int) -> str:
            if fail:
                raise Broken
            return "new"

        assert f(1) == "new"
        key = f.cache_key(1)
        tier.set(key, "stale", ttl=999)  # as if 101 seconds had gone by
        assert f(1) == "new"
        tier.set(key, "stale", ttl=999)
        fail = True
        assert f(1) == "stale"
        tier.set(key, "fresh", ttl=1050)
        assert f(1) == "fresh"
        cache.close()


def test_a_refresh_that_fails_says_so_and_keeps_what_is_there(make: Make) -> None:
    fail = False

    def load(x: int) -> int:
        if fail:
            raise Broken
        return x

    f = make(negative_ttl=60)(load)
    warm(f, 1)
    fail = True
    with pytest.raises(Broken):
        f.refresh(1)
    fail = False
    assert f(1) == 1
    assert f.refresh(1) == 1


def test_a_value_is_refreshed_ahead_of_its_end(make: Make, storage: Any, clock: Clock) -> None:
    if not has_lifetimes(storage):
        return
    calls: list[int] = []

    def load(x: int) -> None:
        time.sleep(0.1)  # what a load takes decides how early
        calls.append(x)

    f = make(ttl=1000, refresh_ahead=1.0)(load)
    warm(f, 1)
    begun = len(calls)
    clock.now += 999.8
    late = time.monotonic() + PATIENT
    while len(calls) == begun and time.monotonic() < late:
        f(1)
    assert len(calls) == begun + 1


def test_jitter_shortens_what_is_stored(make: Make, storage: Any, shared_server: RedisServer) -> None:
    f = make(ttl=1000, jitter=0.5)(lambda x: x)
    for x in range(30):
        f(x)
    if isinstance(storage, Backend):
        lifetimes = [call[1] for call in storage.calls if call[0] == "set"]
    elif isinstance(storage, Cache):
        lifetimes = [storage.expires_in(key) for key in storage]
    else:
        names = [storage.shared._spell(f.function.cache_key(x)).decode("latin-1") for x in range(30)]
        lifetimes = [int(shared_server.cli("PTTL", name)) / 1000 for name in names]
    assert len(lifetimes) == 30
    assert all(490 <= lifetime <= 1000 for lifetime in lifetimes)
    assert max(lifetimes) - min(lifetimes) > 50
