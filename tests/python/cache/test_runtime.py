"""Caches in a process that forks, exits, sits idle or is flooded."""

from __future__ import annotations

import contextlib
import gc
import itertools
import os
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from cache_support import run_python
from mcp_performance import Cache, cached
from mcp_performance.cache import _housekeeping

# ---- the housekeeper


def test_importing_and_decorating_start_no_thread() -> None:
    script = """
import threading
from mcp_performance import Cache, cached
cache = Cache(ttl=5)
@cached
def f(x): return x
for_ever = Cache()
for_ever["a"] = 1
print(threading.active_count())
cache["a"] = 1
print(sorted(t.name for t in threading.enumerate() if t is not threading.main_thread()))
f(1)
print(threading.active_count())
"""
    assert run_python(script) == "1\n['mcp-performance-caches']\n2\n"


def test_an_idle_cache_gives_memory_back_by_itself() -> None:
    class Value:
        pass

    dropped = threading.Event()
    cache: Cache[int, Any] = Cache(ttl=0.01)
    value = Value()
    cache[1] = value
    reference = weakref.ref(value, lambda _: dropped.set())
    del value
    assert dropped.wait(60)
    assert reference() is None
    assert cache.stats().expirations == 1


def test_the_housekeeper_forgets_caches_that_are_gone() -> None:
    keeper = _housekeeping._Keeper()
    cache: Cache[int, int] = Cache(ttl=100)
    keeper._caches = [weakref.ref(cache)]
    assert keeper.sweep() <= 60
    assert len(keeper._caches) == 1
    del cache
    gc.collect()
    assert keeper.sweep() == 60
    assert keeper._caches == []


def test_the_housekeeper_drops_in_slices_until_nothing_is_due() -> None:
    class Clock:
        now = 0.0

        def __call__(self) -> float:
            return self.now

    clock = Clock()
    cache: Cache[int, int] = Cache(None, ttl=10, clock=clock)
    for i in range(5000):
        cache[i] = i
    keeper = _housekeeping._Keeper()
    keeper._caches = [weakref.ref(cache)]
    clock.now = 20
    keeper.sweep()
    assert len(cache) == 0


def test_a_cache_that_raises_does_not_stop_the_housekeeper(monkeypatch: pytest.MonkeyPatch) -> None:
    raised: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda event: raised.append(event.exc_value))

    class Clock:
        broken = False

        def __call__(self) -> float:
            if self.broken:
                raise OSError("no clock")
            return 0.0

    clock = Clock()
    cache: Cache[int, int] = Cache(ttl=10, clock=clock)
    cache[1] = 1
    clock.broken = True
    keeper = _housekeeping._Keeper()
    keeper._caches = [weakref.ref(cache)]
    keeper.sweep()
    clock.broken = False
    assert OSError in [type(error) for error in raised]
    assert len(keeper._caches) == 1


# ---- fork


FORKED = """
import os, sys, threading
from mcp_performance import Cache, cached
from mcp_performance.cache import _housekeeping

started, go_on = threading.Event(), threading.Event()
@cached
def slow(x):
    if os.getpid() == parent:
        started.set()
        go_on.wait()
    return os.getpid()

@cached
def quick(x):
    return x
parent = os.getpid()
quick(1)
leader = threading.Thread(target=slow, args=(1,))
leader.start()
started.wait()
child = os.fork()
if child == 0:
    assert not _housekeeping._keeper.alive
    assert slow(1) == os.getpid()           # the parent's load is not waited for
    assert quick(1) == 1 and quick.cache_info().hits == 1
    cache = Cache(ttl=5)
    cache["a"] = 1
    assert _housekeeping._keeper.alive
    cache._check_invariants()
    os._exit(7)
_, status = os.waitpid(child, 0)
print(os.waitstatus_to_exitcode(status))
go_on.set()
leader.join()
assert slow(1) == parent and _housekeeping._keeper.alive
print("parent unharmed")
"""


def test_a_forked_child_starts_fresh_and_the_parent_is_unharmed() -> None:
    assert run_python(FORKED) == "7\nparent unharmed\n"


def test_a_fork_while_the_housekeeper_works_does_not_hang() -> None:
    script = """
import os, threading
from mcp_performance import Cache
cache = Cache(None, ttl=0.001)
stop = threading.Event()
def fill():
    i = 0
    while not stop.is_set():
        i += 1
        cache[i] = i
        if i % 512 == 0:
            cache._expire(1000)
threads = [threading.Thread(target=fill) for _ in range(3)]
for thread in threads: thread.start()
for _ in range(30):
    child = os.fork()
    if child == 0:
        for i in range(1000):
            cache.get_or_load(-i, lambda key: key)
        cache._check_invariants()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert status == 0, status
stop.set()
for thread in threads: thread.join()
print("ok")
"""
    assert run_python(script, timeout=100) == "ok\n"


def test_multiprocessing_workers_use_inherited_caches() -> None:
    script = """
import multiprocessing
from mcp_performance import cached
@cached
def f(x): return x * 2
def work(x): return f(x), f(x)
if __name__ == "__main__":
    f(1)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        print(pool.map(work, range(4)))
"""
    assert run_python(script) == "[(0, 0), (2, 2), (4, 4), (6, 6)]\n"


# ---- exit


@pytest.mark.parametrize("ending", ["", "sys.exit(0)", "raise SystemExit"])
def test_exit_does_not_wait_for_anything(ending: str) -> None:
    script = f"""
import sys, threading
from mcp_performance import Cache, cached
cache = Cache(ttl=100, on_evict=lambda *event: None)
never = threading.Event()

@cached
def stuck(x):
    never.wait()

@cached(ttl=1)
async def coroutine(x):
    return x

import asyncio
asyncio.run(coroutine(1))
answer = coroutine(1)
for x in (1, 1, 2):
    threading.Thread(target=stuck, args=(x,), daemon=True).start()
while stuck.cache_info().misses < 3:
    pass
cache["a"] = cache
print("bye", flush=True)
{ending}
"""
    assert run_python(script) == "bye\n"


def test_finalizers_may_use_caches_while_the_interpreter_ends() -> None:
    script = """
from mcp_performance import Cache, cached
cache = Cache(3, ttl=100)
@cached
def f(x): return x
class Last:
    def __del__(self):
        cache["late"] = 1
        f(1)
keep = Last()
cache["keep"] = Last()
f.keep = keep
print("bye")
"""
    assert run_python(script) == "bye\n"


# ---- flooding


class Colliding:
    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number

    def __hash__(self) -> int:
        return 1

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Colliding) and self.number == other.number


def comparisons(container: Any, numbers: list[int], hash_of: Callable[[int], int]) -> int:
    """How often ``__eq__`` is asked to store and find a key for each of *numbers*."""
    count = 0

    class Counting:
        __slots__ = ("number",)

        def __init__(self, number: int) -> None:
            self.number = number

        def __hash__(self) -> int:
            return hash_of(self.number)

        def __eq__(self, other: object) -> bool:
            nonlocal count
            count += 1
            return self.number == other.number  # type: ignore[attr-defined]

    for number in numbers:
        container[Counting(number)] = number
    for number in numbers:
        assert container[Counting(number)] == number
    return count


def test_keys_of_one_hash_cost_at_most_twice_the_comparisons_of_a_dict() -> None:
    # Comparisons, not time: equal hashes make a dict quadratic as well, so that 100,000 keys of one hash are
    # 10**10 comparisons for either; the law of growth is what carries over to them.
    sizes = (50, 100, 200, 400, 800)
    ours = [comparisons(Cache(None), list(range(size)), lambda _: 1) for size in sizes]
    theirs = [comparisons({}, list(range(size)), lambda _: 1) for size in sizes]
    for mine, other in zip(ours, theirs, strict=True):
        assert mine <= 2 * other
    for half, whole in itertools.pairwise(ours):
        assert whole <= 4.1 * half


def test_a_hundred_thousand_colliding_keys_stay_bounded() -> None:
    # What a cache compares for a key is bounded by what it holds, unlike a dict of them all.
    cache: Cache[Any, int] = Cache(64)
    for i in range(100_000):
        cache[Colliding(i)] = i
    assert len(cache) == 64
    cache._check_invariants()


@pytest.mark.parametrize("shift", [20, 32, 40])
def test_a_hundred_thousand_keys_that_differ_in_high_bits_only_hardly_meet(shift: int) -> None:
    # Their hashes are themselves and equal in all the bits that a table of this size looks at first. Neither
    # a dict nor this cache asks __eq__ about any but the key itself. (How far a search goes is a test of the
    # table, index_table_test.cpp.)
    numbers = [number << shift for number in range(100_000)]
    assert hash(numbers[-1]) == numbers[-1]
    ours = comparisons(Cache(None), numbers, int)
    assert len(numbers) <= ours <= 2 * comparisons({}, numbers, int)


# ---- memory


def resident() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_nothing_leaks_over_many_rounds() -> None:
    @cached(maxsize=64, negative_ttl=5, stale_ttl=5, copy=list)
    def f(x: int) -> list[int]:
        if x % 7 == 0:
            raise LookupError
        return [x]

    cache: Cache[Any, Any] = Cache(64, ttl=5)

    def work() -> None:
        for i in range(3000):
            with contextlib.suppress(LookupError):
                f(i % 200)
            cache.set((i, "k"), [i], tags=(f"t{i % 5}",))
            cache.get_or_load((i, "l"), lambda key: [key])
            if i % 50 == 0:
                cache.invalidate_tags("t1")
                f.cache_clear()

    work()
    gc.collect()
    objects = len(gc.get_objects())
    before = resident()
    for _ in range(10):
        work()
    gc.collect()
    assert len(gc.get_objects()) - objects < 500
    assert resident() - before < 4 << 20


def test_memory_beyond_key_and_value_is_at_most_80_bytes_an_entry() -> None:
    script = """
import gc, os
from mcp_performance import Cache
def resident():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
keys = list(range(1_000_000))
cache = Cache(1_000_000, ttl=300)
before = resident()
for key in keys:
    cache[key] = None
print((resident() - before) / len(cache))
"""
    assert float(run_python(script)) <= 80
