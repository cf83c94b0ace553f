"""lru_cache is a drop-in for functools.lru_cache.

The specifications below run against both, and CPython's own tests of lru_cache against ours.
"""

from __future__ import annotations

import builtins
import copy
import functools
import gc
import importlib
import importlib.util
import pickle
import random
import threading
import types
import unittest
import unittest.mock
import weakref
from typing import Any

import pytest

import mcp_performance


@pytest.fixture(params=["ours", "CPython's"])
def lru_cache(request: pytest.FixtureRequest) -> Any:
    return mcp_performance.lru_cache if request.param == "ours" else functools.lru_cache


@mcp_performance.lru_cache
def ours_at_module_level(x: int) -> int:
    return x


def test_counts_evicts_and_clears(lru_cache: Any) -> None:
    @lru_cache(maxsize=20)
    def f(x: int, y: int) -> int:
        return 3 * x + y

    for _ in range(1000):
        x, y = random.randrange(5), random.randrange(5)
        assert f(x, y) == 3 * x + y
    hits, misses, maxsize, currsize = f.cache_info()
    assert hits > misses
    assert (hits + misses, maxsize, currsize) == (1000, 20, 20)
    f.cache_clear()
    assert f.cache_info() == (0, 0, 20, 0)
    f(x, y)
    assert f.__wrapped__(x, y) == 3 * x + y
    assert f.cache_info() == (0, 1, 20, 1)


@pytest.mark.parametrize(
    ("maxsize", "expected"),
    [(0, (0, 16, 0, 0)), (-10, (0, 16, 0, 0)), (1, (6, 10, 1, 1)), (2, (12, 4, 2, 2))],
)
def test_small_sizes_evict_the_least_recently_used(lru_cache: Any, maxsize: int, expected: Any) -> None:
    @lru_cache(maxsize)
    def f(x: int) -> int:
        return x * 10

    for x in (7, 9, 7, 9, 7, 9, 8, 8, 8, 9, 9, 9, 8, 8, 8, 7):
        assert f(x) == x * 10
    assert f.cache_info() == expected


@pytest.mark.parametrize("typed", [False, True])
def test_every_hit_and_miss_is_functools_own(typed: bool) -> None:
    theirs = functools.lru_cache(maxsize=3, typed=typed)(repr)
    ours = mcp_performance.lru_cache(maxsize=3, typed=typed)(repr)
    generator = random.Random(7)
    for _ in range(3000):
        value = generator.choice([0, 1, 2, 3, 4, 1.0, 2.0, True, "1", (1,), None])
        assert ours(value) == theirs(value)
        assert ours.cache_info() == theirs.cache_info()


def test_bare_unbounded_and_parameters(lru_cache: Any) -> None:
    @lru_cache
    def bare(x: int) -> int:
        return x

    @lru_cache(maxsize=None, typed=True)
    def fib(n: int) -> int:
        return n if n < 2 else fib(n - 1) + fib(n - 2)

    assert bare.cache_info() == (0, 0, 128, 0)
    assert bare.cache_parameters() == {"maxsize": 128, "typed": False}
    assert [fib(n) for n in range(16)][-1] == 610
    assert fib.cache_info() == (28, 16, None, 16)
    assert fib.cache_parameters() == {"maxsize": None, "typed": True}
    for bad in ("many", 1.5, []):
        with pytest.raises(TypeError):
            lru_cache(bad)


def test_keys_are_the_arguments_as_written(lru_cache: Any) -> None:
    @lru_cache(maxsize=100)
    def f(*args: Any, **kwargs: Any) -> Any:
        return args, list(kwargs.items())

    assert f(a=1, b=2) == ((), [("a", 1), ("b", 2)])
    assert f(b=2, a=1) == ((), [("b", 2), ("a", 1)])
    assert f(1, 2) == ((1, 2), [])
    assert f((1, 2)) == (((1, 2),), [])
    assert f(0) == ((0,), [])
    assert f(0, **{}) == ((0,), [])
    assert f.cache_info()[:2] == (1, 5)


def test_types_count_only_when_asked(lru_cache: Any) -> None:
    @lru_cache(typed=True)
    def square(x: Any) -> Any:
        return x * x

    for _ in range(2):
        for value in (3, 3.0):
            assert type(square(value)) is type(square(x=value)) is type(value)
    assert square.cache_info()[:2] == (4, 4)

    class T(tuple):  # type: ignore[type-arg]
        __slots__ = ()

    shown = lru_cache(typed=True)(repr)
    assert [shown((1,)), shown((True,)), shown((1.0,)), shown(T((1.0,))), shown(T((1,)))] == ["(1,)"] * 3 + [
        "(1.0,)"
    ] * 2


def test_hashes_each_argument_once_a_call(lru_cache: Any) -> None:
    @lru_cache(maxsize=1)
    def f(x: Any, y: int) -> int:
        return y

    number = unittest.mock.Mock()
    number.__hash__ = unittest.mock.Mock(return_value=999)
    for expected, argument in [(1, number), (2, number), (2, 6), (3, number)]:
        f(argument, 1)
        assert number.__hash__.call_count == expected


def test_an_exception_is_raised_as_it_is_and_not_kept(lru_cache: Any) -> None:
    calls = []

    @lru_cache(maxsize=4)
    def f(i: int) -> str:
        calls.append(i)
        return "abc"[i]

    for _ in range(2):
        with pytest.raises(IndexError) as caught:
            f(15)
        assert caught.value.__context__ is None
    assert calls == [15, 15]
    with pytest.raises(TypeError, match="unhashable"):
        f([])


def test_a_recursive_call_with_the_same_argument_keeps_the_cache_full(lru_cache: Any) -> None:
    once = True

    @lru_cache(maxsize=10)
    def f(x: int) -> str:
        nonlocal once
        value = f".{x}."
        if x == 20 and once:
            once = False
            value = f(x)
        return value

    for x in range(15):
        f(x)
    assert f(20) == ".20."
    assert f.cache_info().currsize == 10


def test_eq_may_reenter(lru_cache: Any) -> None:
    @lru_cache(maxsize=10)
    def f(x: Any) -> Any:
        return x

    class DoubleEq:
        def __init__(self, x: int) -> None:
            self.x = x

        def __hash__(self) -> int:
            return self.x

        def __eq__(self, other: Any) -> bool:
            if self.x == 2:
                f(DoubleEq(1))
            return bool(self.x == other.x)

    f(DoubleEq(1))
    f(DoubleEq(2))
    assert f(DoubleEq(2)) == DoubleEq(2)


def test_threads_do_not_wait_for_each_other(lru_cache: Any) -> None:
    inside = threading.Barrier(4, timeout=30)

    @lru_cache(maxsize=4)
    def f(x: int) -> int:
        inside.wait()  # all four at once: no single-flight
        return x

    threads = [threading.Thread(target=f, args=(1,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert f.cache_info() == (0, 4, 4, 1)


def test_replaces_len_without_using_it(lru_cache: Any) -> None:
    original = builtins.len
    try:
        builtins.len = lru_cache(4)(len)
        lengths = [len("abcdefghijklmn"[:i]) for i in (0, 0, 1, 2, 3, 3, 4, 5, 6, 1, 7, 2, 1)]
    finally:
        builtins.len = original
    assert lengths == [0, 0, 1, 2, 3, 3, 4, 5, 6, 1, 7, 2, 1]


def test_copies_and_pickles_as_itself() -> None:
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(ours_at_module_level, protocol)) is ours_at_module_level
    assert copy.copy(ours_at_module_level) is ours_at_module_level
    assert copy.deepcopy(ours_at_module_level) is ours_at_module_level


def test_can_be_referenced_weakly_and_dies(lru_cache: Any) -> None:
    class A:
        @lru_cache
        def method(self, x: int) -> Any:
            return self, x

    function = lru_cache(lambda x: x)
    references = [weakref.ref(function), weakref.ref(A.method)]
    A().method(1)
    del A, function
    gc.collect()
    assert [reference() for reference in references] == [None, None]


# ---- CPython's own


def cpython_tests() -> type[unittest.TestCase]:
    """CPython's tests of lru_cache with ours in its place. Debian has them in libpython3.11-testsuite."""
    theirs = importlib.import_module("test.test_functools")
    ours = types.SimpleNamespace(**vars(functools))
    ours.lru_cache = mcp_performance.lru_cache
    ours._CacheInfo = mcp_performance.CacheInfo

    def method(self: Any, x: int, y: int) -> int:
        return 3 * x + y

    def static(x: int, y: int) -> int:
        return 3 * x + y

    namespace: dict[str, Any] = {"module": ours, "__module__": __name__, "__qualname__": "CPythonsOwn"}
    for name, function in (("cached_meth", method), ("cached_staticmeth", static)):
        function.__name__, function.__qualname__ = name, f"CPythonsOwn.{name}"
    namespace["cached_meth"] = mcp_performance.lru_cache()(method)
    namespace["cached_staticmeth"] = staticmethod(mcp_performance.lru_cache()(static))
    namespace["cached_func"] = (ours_at_module_level,)
    return type("CPythonsOwn", (theirs.TestLRU, unittest.TestCase), namespace)


CPythonsOwn = cpython_tests()
