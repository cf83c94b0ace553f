"""How the arguments of a cached function become keys."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest

from mcp_performance import Cache, CacheInfo, cached


def test_spellings_of_one_call_are_one_entry() -> None:
    calls = []

    @cached
    def f(a: Any, b: Any = 2, *, c: Any = 3) -> Any:
        calls.append((a, b, c))
        return (a, b, c)

    results = {f(1), f(a=1), f(1, 2), f(1, b=2), f(b=2, a=1), f(1, c=3), f(c=3, b=2, a=1), f(1, 2, c=3)}
    assert results == {(1, 2, 3)}
    assert len(calls) == 1
    f(1, 3)
    f(1, c=4)
    assert f.cache_info().misses == 3


def test_one_parameter_in_every_kind() -> None:
    def positional(x: Any = 1, /) -> Any:
        return x

    def either(x: Any = 1) -> Any:
        return x

    def keyword(*, x: Any = 1) -> Any:
        return x

    p, e, k = cached(positional), cached(either), cached(keyword)
    assert [p(), p(1), e(), e(1), e(x=1), k(), k(x=1)] == [1] * 7
    assert [f.cache_info().misses for f in (p, e, k)] == [1, 1, 1]


def test_different_calls_never_share_an_entry() -> None:
    @cached(maxsize=None)
    def f(*args: Any, **kwargs: Any) -> Any:
        return args, tuple(sorted(kwargs.items()))

    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
        ((), {}),
        ((1,), {}),
        ((1, 2), {}),
        (((1, 2),), {}),
        (("1",), {}),
        (("a", 1), {}),
        ((), {"a": 1}),
        ((("a", 1),), {}),
        (("a",), {"b": 1}),
        ((), {"a": 1, "b": 2}),
        ((None,), {}),
        (("",), {}),
        ((b"1",), {}),
        (("1 2",), {}),
        (("1", "2"), {}),
        (("a\0b",), {}),
        (("a", "b"), {}),
    ]
    for args, kwargs in calls:
        f(*args, **kwargs)
    assert f.cache_info().currsize == len(calls)
    for args, kwargs in calls:
        assert f(*args, **kwargs) == (args, tuple(sorted(kwargs.items())))
    assert f.cache_info().hits == len(calls)


def test_the_order_of_extra_keywords_does_not_count() -> None:
    @cached
    def f(a: int, *rest: int, **extra: int) -> Any:
        return extra

    f(1, 2, x=1, y=2, z=3)
    f(1, 2, z=3, y=2, x=1)
    assert f.cache_info().misses == 1


def test_numbers_compare_as_dict_keys_do() -> None:
    @cached
    def f(x: Any) -> str:
        return repr(x)

    assert [f(1), f(1.0), f(True), f(1 + 0j)] == ["1"] * 4
    assert f("1") == "'1'"
    nan = float("nan")
    f(nan)
    f(nan)
    f(float("nan"))
    assert f.cache_info().currsize == 4


@pytest.mark.parametrize("parameters", ["x", "x, y=0", "*x", "x, /", "*, x"])
def test_typed_keeps_types_apart(parameters: str) -> None:
    function = eval(f"lambda {parameters}: repr(x)")
    f = cached(typed=True)(function)
    spell: Callable[[Any], Any] = (lambda v: f(x=v)) if parameters == "*, x" else f
    for value in (1, 1.0, True):
        expected = spell(value)
        assert spell(value) == expected
        assert repr(value) in expected
    assert f.cache_info() == (3, 3, 1024, 3)


def test_an_unhashable_argument_is_named() -> None:
    @cached
    def one(numbers: Any) -> Any:
        return numbers

    @cached
    def many(a: Any, b: Any = None, *rest: Any, c: Any = None, **extra: Any) -> Any:
        return a

    @cached(ignore=("a",))
    def ignoring(a: Any, b: Any) -> Any:
        return b

    with pytest.raises(TypeError, match=r"argument 'numbers' of .*one\(\) is unhashable: 'list'") as caught:
        one([1])
    assert isinstance(caught.value.__cause__, TypeError)
    with pytest.raises(TypeError, match=r"argument 'numbers' .*'dict'"):
        one(numbers={})
    with pytest.raises(TypeError, match=r"argument 'b' .*'set'"):
        many(1, set())
    with pytest.raises(TypeError, match=r"argument 'c' .*'list'"):
        many(1, c=[])
    with pytest.raises(TypeError, match=r"is unhashable: 'list'"):
        many(1, 2, [])
    with pytest.raises(TypeError, match=r"argument 'b' .*'list'"):
        ignoring([], [])
    assert ignoring([], 2) == 2


def test_a_call_that_does_not_fit_gets_the_functions_own_error() -> None:
    @cached
    def f(a: int, b: int = 0) -> int:
        return a

    for args, kwargs in [((), {}), ((1, 2, 3), {}), ((1,), {"a": 1}), ((1,), {"z": 1})]:
        with pytest.raises(TypeError, match=r"f\(\)"):
            f(*args, **kwargs)
    assert f.cache_info().currsize == 0


def test_key_and_ignore() -> None:
    @cached(key=lambda user, *rest, **more: user["id"])
    def by_id(user: dict[str, int], extra: int = 0) -> int:
        return user["id"] * 10

    assert by_id({"id": 1}) == by_id({"id": 1}, 5) == 10
    assert by_id.cache_info().misses == 1
    assert by_id.cache_key({"id": 7}) == 7

    @cached(ignore=("session",))
    def fetch(session: object, url: str) -> str:
        return url

    assert fetch(object(), "a") == fetch(object(), url="a") == "a"
    assert fetch.cache_info().misses == 1


def test_builtins_without_a_signature_work() -> None:
    largest = cached(max)
    assert largest(1, 5, 3) == 5
    assert largest(1, 5, 3) == 5
    assert largest.cache_info().hits == 1


def test_the_key_methods() -> None:
    @cached
    def f(a: int, b: int = 2) -> int:
        return a + b

    assert f.cache_key(1) == f.cache_key(b=2, a=1) == (1, 2)
    assert not f.cache_contains(1)
    assert f(1) == 3
    assert f.cache_contains(a=1)
    assert f.cache[f.cache_key(1)] == 3
    assert f.cache_invalidate(1)
    assert not f.cache_invalidate(1)
    assert f(1) == 3
    before = f.cache_info()
    assert f.cache_refresh(1) == 3
    assert f.stats().loads == 3
    assert f.cache_info() == before
    f.cache_clear()
    assert f.cache_info() == CacheInfo(0, 0, 1024, 0)


def _one(a: Any) -> Any:
    return a


def _two(a: Any, b: Any = 2) -> Any:
    return a, b


def _mixed(a: Any, /, b: Any = 1, *, c: Any = 0) -> Any:
    return a, b, c


def _nothing() -> Any:
    return None


class _Text(str):
    """Equal to its text, and no plain str."""

    __slots__ = ()


_CALLS: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    (("text",), {}),
    (("te" + chr(120) + "t",), {}),  # equal, and another object
    ((_Text("text"),), {}),
    ((1,), {}),
    ((1.0,), {}),
    ((True,), {}),
    ((2**70,), {}),
    (((1, "a"),), {}),
    (((1.0, "a"),), {}),
    ((None,), {}),
    ((b"text",), {}),
    ((), {"a": 1}),
    ((1, 2), {}),
    ((1,), {"b": 2}),
    ((2, 1), {}),
    ((), {"b": 1, "a": 2}),
    ((1,), {"c": 5}),
    ((), {}),
    ((1, 2, 3), {}),
    (([],), {}),
    ((1, []), {}),
]


@pytest.mark.parametrize("typed", [False, True])
@pytest.mark.parametrize("function", [_one, _two, _mixed, _nothing])
def test_a_function_that_shares_its_cache_tells_calls_apart_as_one_of_its_own_does(
    function: Callable[..., Any], typed: bool
) -> None:
    common: Cache[Any, Any] = Cache(1000)
    runs: list[str] = []

    def counted(who: str) -> Callable[..., Any]:
        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            runs.append(who)
            return function(*args, **kwargs)

        return run

    own = cached(typed=typed)(counted("own"))
    sharing = cached(typed=typed, cache=common)(counted("sharing"))
    neighbour = cached(cache=common)(lambda *args, **kwargs: "neighbour's")

    def outcome(call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        try:
            return repr(call(*args, **kwargs))
        except TypeError as error:
            return str(error)

    for _ in range(2):
        for args, kwargs in _CALLS:
            outcome(neighbour, args, kwargs)
            assert outcome(sharing, args, kwargs) == outcome(own, args, kwargs)
            assert runs.count("sharing") == runs.count("own"), (args, kwargs)
