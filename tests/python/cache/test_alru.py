"""mcp_performance.async_lru beside the real one: the same programs have the same outcomes."""

import asyncio
import functools
import inspect

import async_lru as real
import pytest

from mcp_performance import async_lru as ours


async def outcome(awaitable):
    try:
        return await awaitable
    except (Exception, asyncio.CancelledError) as error:
        return type(error), str(error)


async def keys(alru_cache):
    calls = []

    @alru_cache(maxsize=3)
    async def function(*args, **kwargs):
        """Says so."""
        calls.append((args, kwargs))
        return len(calls)

    yield function.__name__, function.__doc__, inspect.iscoroutinefunction(function.__wrapped__)
    yield inspect.iscoroutine(coroutine := function(1)), await coroutine
    yield [
        await function(1),
        await function(1.0),
        await function(True),
        await function(x=1),
        await function(x=1),
    ]
    yield [await function(1, y=1, z=2), await function(1, z=2, y=1), await function(2)]
    yield tuple(function.cache_info()), calls
    yield function.cache_contains(2), function.cache_contains(1), function.cache_contains(3)
    yield function.cache_invalidate(2), function.cache_invalidate(2), tuple(function.cache_info())
    yield function.cache_parameters()
    function.cache_clear()
    yield tuple(function.cache_info()), await function(2), tuple(function.cache_info())
    yield await outcome(function([]))


async def decorations(alru_cache):
    async def add(one, two=10):
        return one + two

    yield await alru_cache(add)(1), await alru_cache()(add)(1), await alru_cache(None)(add)(1)
    yield await alru_cache(functools.partial(add, 5))(two=6)
    typed = alru_cache(typed=True)(add)
    yield type(await typed(1)), type(await typed(1.0)), typed.cache_info().misses
    keyed = alru_cache(key=lambda one, two=10: one % 2)(add)
    yield await keyed(1), await keyed(3), await keyed(2), tuple(keyed.cache_info()), keyed.cache_contains(7)
    zero = alru_cache(maxsize=0)(add)
    yield await zero(1), await zero(1), zero.cache_info().misses
    yield await asyncio.gather(*(zero(1) for _ in range(5))), tuple(zero.cache_info())
    for options in ({"jitter": 1}, {"ttl": 1, "jitter": -1}, {"key": 5}, {"key": len, "typed": True}):
        try:
            alru_cache(**options)
        except (ValueError, TypeError) as error:
            yield type(error)
    for thing in (lambda: 1, "text"):
        try:
            alru_cache(thing)
        except (RuntimeError, NotImplementedError) as error:
            yield type(error)


async def methods(alru_cache):
    class Service:
        def __init__(self, factor):
            self.factor = factor
            self.calls = 0

        async def _product(self, one, two):
            self.calls += 1
            return self.factor * one * two

        product = alru_cache(_product)
        double = alru_cache(functools.partialmethod(_product, 2))
        triple = functools.partialmethod(product, 3)

    first, second = Service(1), Service(10)
    yield [await one.product(2, 3) for one in (first, second, first)], first.calls, second.calls
    yield [await one.double(4) for one in (first, second, first)], first.calls
    yield [await one.triple(5) for one in (first, first)], first.calls
    yield first.product.cache_contains(2, 3), first.product.cache_contains(2, 4)
    yield first.product.cache_invalidate(2, 3), second.product.cache_contains(2, 3)
    yield (
        tuple(first.double.cache_info()),
        first.double.cache_parameters(),
        tuple(Service.product.cache_info()),
    )
    first.product.cache_clear()
    yield second.product.cache_contains(2, 3)
    await first.product.cache_close()
    yield await outcome(second.double(4)), (await outcome(second.product(1, 1)))[0]


async def joined(alru_cache):
    gate, started = asyncio.Event(), asyncio.Event()

    @alru_cache(maxsize=10)
    async def load(key):
        started.set()
        await gate.wait()
        if key == "fails":
            raise LookupError(key)
        return key

    for key in ("one", "fails"):
        gate.clear()
        started.clear()
        callers = [asyncio.create_task(load(key)) for _ in range(5)]
        await started.wait()
        await asyncio.sleep(0)
        yield load.cache_contains(key), load.cache_parameters()["tasks"], tuple(load.cache_info())
        callers[1].cancel()
        await asyncio.sleep(0)
        gate.set()
        yield [await outcome(caller) for caller in callers]
        await asyncio.sleep(0)
        yield load.cache_contains(key), load.cache_parameters()["tasks"], tuple(load.cache_info())


async def pending(alru_cache):
    @alru_cache
    async def load(key):
        await asyncio.Event().wait()

    caller = asyncio.create_task(load(1))
    yield load.cache_contains(1), load.cache_parameters()["tasks"]
    await asyncio.sleep(0)
    yield load.cache_contains(1), load.cache_parameters()["tasks"], tuple(load.cache_info())
    await load.cache_close()
    yield await outcome(caller), load.cache_parameters()["tasks"]


async def closing(alru_cache):
    for wait in (True, False):
        gate, started = asyncio.Event(), asyncio.Event()

        @alru_cache
        async def load(key, gate=gate, started=started):
            started.set()
            await gate.wait()
            return key

        caller = asyncio.create_task(load(1))
        await started.wait()
        if wait:
            gate.set()
        await load.cache_close(wait=wait)
        yield await outcome(caller), load.cache_parameters()
        yield (await outcome(load(1)))[0]
        await load.cache_close()


async def left(alru_cache):
    ended = []
    started = asyncio.Event()

    @alru_cache
    async def load(key):
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(key)

    callers = [asyncio.create_task(load(1)) for _ in range(2)]
    await started.wait()
    await asyncio.sleep(0)
    for caller in callers:
        yield list(ended)
        caller.cancel()
        yield await outcome(caller)
    for _ in range(5):
        await asyncio.sleep(0)
    yield ended, load.cache_contains(1)


PROGRAMS = [keys, decorations, methods, joined, pending, closing, left]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
async def test_programs_have_the_same_outcomes_under_both(program):
    logs = [[step async for step in program(module.alru_cache)] for module in (real, ours)]
    assert logs[1] == logs[0]
    assert logs[0]


def test_the_public_names_are_those_of_async_lru():
    assert set(real.__all__) <= set(ours.__all__)


async def test_jitter_adds_to_the_lifetime(monkeypatch):
    asked = []
    monkeypatch.setattr("random.uniform", lambda *limits: asked.append(limits) or limits[1])

    @ours.alru_cache(ttl=10, jitter=1e6)
    async def load(key):
        return key

    await load(1)
    assert asked == [(0, 1e6)]
    assert 5e5 < load._cached.cache.expires_in(load._cached.cache_key(1)) <= 1e6 + 10


def test_a_result_is_served_on_the_next_loop_too():
    calls = []

    @ours.alru_cache
    async def load(key):
        calls.append(key)
        return key

    assert [asyncio.run(load(1)) for _ in range(3)] == [1, 1, 1]
    assert calls == [1]
