"""What a call is bound to: methods, classes, arguments that do not fit, values that vary with the context."""

from __future__ import annotations

import asyncio
import contextvars
import copy
import functools
import inspect
import pickle
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from backend_support import Backend
from mcp_performance import Cache, cached, cached_method

# ---- methods


class Shop:
    @cached
    def get(self, x: int, y: int = 0) -> object:
        return object()

    @cached
    async def aget(self, x: int, y: int = 0) -> object:
        return object()

    @cached_method
    def own(self, x: int, y: int = 0) -> object:
        return object()

    @classmethod
    @cached
    def of_class(cls, x: int, y: int = 0) -> object:
        return object()

    @staticmethod
    @cached
    def static(x: int, y: int = 0) -> object:
        return object()

    @cached(cache=Cache(), key=lambda self, x, y=0: (x, y))
    def keyed(self, x: int, y: int = 0) -> object:
        return object()

    @cached(cache=Backend(Cache()))
    def behind(self, x: int, y: int = 0) -> object:
        return object()

    part = functools.partialmethod(get, 1)


METHODS = ["get", "aget", "own", "of_class", "static", "keyed", "behind"]
BINDS_BY_ITSELF = sys.version_info >= (3, 13)  # does classmethod


def front_of(name: str) -> tuple[Any, ...]:
    """What the methods that speak of a call have to be given in front."""
    return (Shop,) if name == "of_class" and BINDS_BY_ITSELF else ()


def call(method: Any, *args: Any, **kwargs: Any) -> Any:
    result = method(*args, **kwargs)
    return asyncio.run(result) if inspect.isawaitable(result) else result


@pytest.mark.parametrize("name", METHODS)
def test_the_methods_of_a_bound_method_mean_its_instance(name: str) -> None:
    shop, front = Shop(), front_of(name)
    method = getattr(shop, name)
    kept = call(method, 1)
    assert call(getattr(shop, name), 1) is kept
    assert method.cache_contains(*front, 1)
    assert method.cache_contains(*front, x=1, y=0)
    assert method.cache_key(*front, 1) == method.cache_key(*front, x=1) != method.cache_key(*front, 2)
    assert method.cache_invalidate(*front, 1, y=0) is True
    assert method.cache_invalidate(*front, 1) is False
    assert not method.cache_contains(*front, 1)
    second = call(method, 1)
    assert second is not kept
    third = call(method.cache_refresh, *front, 1)
    assert third is not second
    assert call(method, 1) is third


@pytest.mark.parametrize("method", ["cache_key", "cache_contains", "cache_invalidate", "cache_refresh"])
@pytest.mark.parametrize("args", [(1,), (1, 2), ("a", 2)])
def test_a_class_method_means_its_class_or_asks_for_it(method: str, args: tuple[Any, ...]) -> None:
    ask = getattr(Shop.of_class, method)
    if BINDS_BY_ITSELF:
        with pytest.raises(TypeError, match="the class is to be given first"):
            ask(*args)
    else:
        ask(*args)


@pytest.mark.parametrize("name", ["get", "aget", "own", "behind"])
def test_other_instances_are_not_meant(name: str) -> None:
    one, other = Shop(), Shop()
    kept = call(getattr(other, name), 1)
    call(getattr(one, name), 1)
    getattr(one, name).cache_invalidate(1)
    assert call(getattr(other, name), 1) is kept


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("method", ["cache_key", "cache_contains", "cache_invalidate", "cache_refresh"])
@pytest.mark.parametrize(
    ("args", "kwargs"),
    [((), {}), ((1, 2, 3), {}), ((1,), {"z": 2}), ((1,), {"x": 2}), ((), {"y": 1})],
)
def test_what_cannot_be_bound_is_a_type_error(
    name: str, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    bound = getattr(Shop(), name)
    with pytest.raises(TypeError, match=name):
        getattr(bound, method)(*front_of(name), *args, **kwargs)
    with pytest.raises(TypeError):
        call(bound, *args, **kwargs)


@pytest.mark.parametrize(
    "make",
    [
        lambda: cached(lambda: 1),
        lambda: cached(lambda x: 1),
        lambda: cached(lambda x, /: 1),
        lambda: cached(lambda *, x: 1),
        lambda: cached(ignore=("x",))(lambda x: 1),
        lambda: cached(key=lambda *args, **kwargs: args)(lambda x: 1),
        lambda: cached(vary=(int,))(lambda x: 1),
    ],
)
def test_every_signature_refuses_what_does_not_fit(make: Any) -> None:
    f = make()
    for args, kwargs in (((1, 2), {}), ((), {"y": 1})):
        with pytest.raises(TypeError):
            f(*args, **kwargs)
        for method in (f.cache_key, f.cache_contains, f.cache_invalidate, f.cache_refresh):
            with pytest.raises(TypeError):
                method(*args, **kwargs)


def test_a_signature_with_room_takes_what_it_takes() -> None:
    f = cached(lambda x, *args, **kwargs: object())
    value = f(1, 2, a=3)
    assert f.cache_contains(1, 2, a=3)
    assert f.cache_invalidate(1, 2, a=3)
    assert f(1, 2, a=3) is not value
    with pytest.raises(TypeError, match="missing"):
        f.cache_contains(a=3)
    built_in = cached(int)
    assert built_in("7") == 7
    assert built_in.cache_contains("7")


def test_the_arguments_of_a_decorator_below_are_its_own() -> None:
    def with_limit(function: Any) -> Any:
        @functools.wraps(function)
        def call(x: int) -> Any:
            return function(x, 10)

        return call

    def passing_on(function: Any) -> Any:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

        return call

    def read(x: int, limit: int) -> object:
        return object()

    limited = cached(with_limit(read))
    value = limited(1)
    assert limited.cache_contains(1)
    assert limited.cache_invalidate(1)
    assert limited(1) is not value
    with pytest.raises(TypeError, match="read"):
        limited.cache_invalidate()
    passed = cached(passing_on(read))
    for args in ((1,), (1, 2, 3)):
        with pytest.raises(TypeError, match="read"):
            passed.cache_invalidate(*args)


def test_a_bound_method_is_a_method_like_any() -> None:
    shop = Shop()
    assert inspect.ismethod(shop.get)
    assert shop.get.__self__ is shop
    assert shop.get.__func__ == Shop.get
    assert shop.get == shop.get
    assert hash(shop.get) == hash(shop.get)
    assert shop.get != Shop().get
    assert shop.get.__name__ == "get"
    assert shop.get.__doc__ == Shop.get.__doc__
    assert list(inspect.signature(shop.get).parameters) == ["x", "y"]
    assert asyncio.iscoroutinefunction(shop.aget)
    assert not asyncio.iscoroutinefunction(shop.get)
    assert shop.get.cache is Shop.get.cache
    assert shop.get.cache_info() == Shop.get.cache_info()
    stored = shop.get
    assert stored(3) is shop.get(3)
    assert copy.copy(Shop.get) is Shop.get
    assert pickle.loads(pickle.dumps(Shop.static)) is Shop.static
    assert shop.part() is shop.get(1)
    assert shop.part.func.cache_invalidate(*shop.part.args) is True


# ---- what may be decorated


def plain(x: int) -> int:
    return x


@pytest.mark.parametrize(
    "target",
    [
        classmethod(plain),
        staticmethod(plain),
        property(plain),
        functools.cached_property(plain),
        functools.partialmethod(plain, 1),
        functools.partial(staticmethod(plain), 1),
    ],
)
@pytest.mark.parametrize("decorator", [cached, cached(ttl=1), cached_method])
def test_a_descriptor_is_refused_with_the_right_order(target: Any, decorator: Any) -> None:
    with pytest.raises(TypeError, match=r"put the decorator below @\w+"):
        decorator(target)


def generator(x: int) -> Any:
    yield x


async def async_generator(x: int) -> Any:
    yield x


@pytest.mark.parametrize("target", [generator, async_generator, functools.partial(generator, 1)])
def test_a_generator_is_refused(target: Any) -> None:
    with pytest.raises(TypeError, match="generator"):
        cached(target)


@pytest.mark.parametrize("target", [None, 3.5, "f", [plain]])
def test_what_cannot_be_called_is_refused(target: Any) -> None:
    with pytest.raises(TypeError):
        cached()(target)


async def double(x: int) -> int:
    return 2 * x


@pytest.mark.parametrize(
    "target",
    [lambda x: double(x), lambda x: asyncio.ensure_future(double(x)), lambda x: cached(double)(x)],
)
async def test_a_function_that_returns_an_awaitable_says_so_at_its_first_call(target: Any) -> None:
    f = cached(target)
    with pytest.raises(TypeError, match="async def"):
        f(1)
    assert not f.cache_contains(1)
    with pytest.raises(TypeError, match="aget_or_load"):
        Cache().get_or_load(1, target)


def test_a_partial_is_cached_as_any_function() -> None:
    def add(x: int, y: int, z: int = 0) -> list[int]:
        return [x + y + z]

    f = cached(functools.partial(add, 1, z=3))
    assert f(2) == [6]
    assert f(y=2) is f(2)
    assert f(2, z=4) == [7]
    with pytest.raises(TypeError):
        f.cache_contains(1, 2, 3, 4)
    shared: Cache[Any, Any] = Cache()
    with pytest.raises(TypeError, match="name="):
        cached(cache=shared)(functools.partial(add, 1))
    one = cached(cache=shared, name="one")(functools.partial(add, 1))
    two = cached(cache=shared, name="two")(functools.partial(add, 2))
    assert (one(1), two(1)) == ([2], [3])

    async def aadd(x: int, y: int) -> int:
        return x + y

    assert asyncio.run(cached(functools.partial(aadd, 1))(2)) == 3  # type: ignore[arg-type]


def test_a_class_is_cached_as_a_function_that_makes_instances() -> None:
    class Point:
        def __init__(self, x: int, y: int = 0) -> None:
            self.x = x

    f = cached(Point)
    assert f(1) is f(x=1, y=0)
    assert isinstance(f(2), Point)
    with pytest.raises(TypeError):
        f.cache_contains()


# ---- vary=

user: contextvars.ContextVar[str] = contextvars.ContextVar("user", default="nobody")
tenant: contextvars.ContextVar[Any] = contextvars.ContextVar("tenant")


def as_user(name: str, act: Callable[[], Any]) -> Any:
    def run() -> Any:
        user.set(name)
        return act()

    return contextvars.copy_context().run(run)


SIGNATURES: list[Callable[..., Any]] = [
    lambda: (user.get(), 0),
    lambda x: (user.get(), x),
    lambda x, y=2: (user.get(), x),
    lambda x, *rest: (user.get(), x),
    lambda **kwargs: (user.get(), kwargs.get("x")),
]


@pytest.mark.parametrize("load", SIGNATURES)
@pytest.mark.parametrize(
    "options",
    [{}, {"cache": Cache()}, {"key": lambda *args, **kwargs: 1}, {"typed": True}, {"cache": Backend()}],
)
@pytest.mark.parametrize("is_async", [False, True])
def test_values_that_vary_are_part_of_the_key(load: Any, options: dict[str, Any], is_async: bool) -> None:
    calls: list[str] = []

    def of_user(*args: Any, **kwargs: Any) -> Any:
        calls.append(user.get())
        return load(*args, **kwargs)

    async def aof_user(*args: Any, **kwargs: Any) -> Any:
        return of_user(*args, **kwargs)

    target: Any = aof_user if is_async else of_user
    target.__signature__ = inspect.signature(load)
    target.__qualname__ = f"{load.__code__.co_firstlineno}.{options}.{is_async}"
    f: Any = cached(vary=(user.get,), **options)(target)
    parameters = inspect.signature(load).parameters
    args = () if not parameters or "kwargs" in parameters else (1,)
    for _ in range(2):
        assert as_user("ada", lambda: call(f, *args))[0] == "ada"
        assert as_user("bob", lambda: call(f, *args))[0] == "bob"
    assert calls == ["ada", "bob"]
    assert as_user("ada", lambda: f.cache_key(*args)) != as_user("bob", lambda: f.cache_key(*args))
    if not isinstance(options.get("cache"), Backend):
        assert as_user("ada", lambda: f.cache_contains(*args))
        assert not f.cache_contains(*args)
    assert as_user("ada", lambda: f.cache_invalidate(*args))
    assert as_user("bob", lambda: call(f, *args))[0] == "bob"
    assert calls == ["ada", "bob"]
    assert as_user("ada", lambda: call(f, *args))[0] == "ada"
    assert as_user("ada", lambda: call(f.cache_refresh, *args))[0] == "ada"
    assert calls == ["ada", "bob", "ada", "ada"]


async def test_concurrent_callers_share_a_load_by_what_varies() -> None:
    calls: list[str] = []

    @cached(vary=[user.get, threading.get_ident])
    async def f(x: int) -> str:
        calls.append(user.get())
        await asyncio.sleep(0)
        return user.get()

    async def ask(name: str) -> str:
        user.set(name)
        return await f(1)

    names = ["ada", "bob", "ada", "bob", "ada"]
    assert await asyncio.gather(*(asyncio.create_task(ask(name)) for name in names)) == names
    assert calls == ["ada", "bob"]


def test_methods_vary_too() -> None:
    class Page:
        @cached(vary=(user.get,))
        def shared(self, x: int) -> str:
            return user.get()

        @cached_method(vary=(user.get,))
        def own(self, x: int) -> str:
            return user.get()

    page = Page()
    for method in (page.shared, page.own):
        for name in ("ada", "bob", "ada"):
            assert as_user(name, lambda method=method: method(1)) == name  # type: ignore[misc]
            assert as_user(name, lambda method=method: method.cache_contains(1))  # type: ignore[misc]


def test_what_a_callable_of_vary_raises_reaches_the_caller() -> None:
    f = cached(vary=(tenant.get,))(plain)
    for ask in (f, f.cache_key, f.cache_contains, f.cache_invalidate, f.cache_refresh):
        with pytest.raises(LookupError):
            ask(1)
    tenant_list = cached(vary=(list,))(plain)
    with pytest.raises(TypeError, match=r"vary= of plain\(\).*list"):
        tenant_list(1)


@pytest.mark.parametrize(
    "vary",
    [user.get, "user", None, 3, (user,), ("user",), (plain,), (double,), {user.get}, {"a": 1}, (generator,)],
)
def test_a_wrong_vary_is_refused_at_decoration(vary: Any) -> None:
    with pytest.raises(TypeError, match="vary="):
        cached(vary=vary)(plain)


def test_the_documented_key_for_a_context_variable() -> None:
    f = cached(key=lambda x: (user.get(), x))(lambda x: user.get())
    assert [as_user(name, lambda: f(1)) for name in ("ada", "bob", "ada")] == ["ada", "bob", "ada"]
