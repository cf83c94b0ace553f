"""An error that many get, or that is remembered: each has one of their own, and frames are let go."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import weakref
from typing import Any

import pytest

from cache_support import settle
from load_forms import FORMS
from mcp_performance import Cache, cached


class Picky(Exception):
    def __init__(self, *, code: int) -> None:
        super().__init__(f"code {code}")
        self.code = code


@FORMS
@pytest.mark.parametrize("error", [ValueError(1, "a"), Picky(code=3), OSError(2, "no"), UnicodeError("x")])
async def test_each_waiter_gets_an_error_of_its_own(form: Any, error: Exception) -> None:
    async def load(x: int) -> None:
        await asyncio.sleep(0)
        raise error

    get = form(load)
    ends = await asyncio.gather(*(get(1) for _ in range(5)), return_exceptions=True)
    assert ends[0] is error
    for end in ends[1:]:
        assert type(end) is type(error)
        assert end.args == error.args  # type: ignore[union-attr]
        assert end.__cause__ is error  # type: ignore[union-attr]
        assert vars(end) == vars(error)
    assert len({id(end) for end in ends}) == 5


def depth_of(error: BaseException) -> int:
    depth, traceback = 0, error.__traceback__
    while traceback is not None:
        depth, traceback = depth + 1, traceback.tb_next
    return depth


@pytest.mark.parametrize("waiters", [1, 50])
async def test_a_traceback_does_not_grow_with_those_who_wait(waiters: int) -> None:
    @cached
    async def f(x: int) -> None:
        await asyncio.sleep(0)
        raise ValueError

    tasks = [asyncio.create_task(f(1)) for _ in range(waiters)]
    await asyncio.wait(tasks)
    assert max(depth_of(task.exception()) for task in tasks) <= 8  # type: ignore[arg-type]


class Local:
    """What a failing loader holds in a local variable."""


def chain() -> None:
    held = Local()
    references.append(weakref.ref(held))
    try:
        raise KeyError(1)
    except KeyError as error:
        raise ValueError(2) from error


def group() -> None:
    try:
        chain()
    except ValueError as error:
        raise ExceptionGroup("both", [error, ValueError(3)]) from error


class Called(ExceptionGroup[Exception]):
    def __new__(cls, errors: list[Exception], code: int) -> Called:
        return super().__new__(cls, f"exit code {code}", errors)


def called_group() -> None:
    raise Called([failed(), ValueError(3)], 5) from KeyError(1)


class Wrapper(Exception):
    """Keeps what it wraps, as the errors of many HTTP clients do."""

    __slots__ = ("slot",)


def failed() -> ValueError:
    """An error that holds its frame, and so the local variables of it."""
    try:
        chain()
    except ValueError as error:
        return error
    raise AssertionError


def in_args() -> None:
    raise Wrapper("no connection", failed())


def in_attributes() -> None:
    error = Wrapper()
    error.reason = {"errors": [failed(), (failed().__traceback__, 1)]}  # type: ignore[attr-defined]
    error.slot = failed()
    raise error


def in_a_field() -> None:
    raise StopAsyncIteration(failed()) from ImportError("x", name=failed())  # type: ignore[arg-type]


def in_a_ring() -> None:
    error = Wrapper(inner := failed())
    error.me = [error] * 100  # type: ignore[attr-defined]
    inner.outer = error  # type: ignore[attr-defined]
    inner.also = error  # type: ignore[attr-defined]
    raise error


references: list[Any] = []


@pytest.mark.parametrize("fail", [chain, group, called_group, in_args, in_attributes, in_a_field, in_a_ring])
def test_what_is_remembered_holds_no_frame(fail: Any) -> None:
    references.clear()
    calls = []

    @cached(negative_ttl=60)
    def f(x: int) -> None:
        calls.append(x)
        fail()

    @cached(negative_ttl=60)
    async def g(x: int) -> None:
        calls.append(x)
        fail()

    for ask in (lambda: f(1), lambda: asyncio.run(g(1))):
        for _ in range(3):
            with contextlib.suppress(Exception):
                ask()
    assert calls == [1, 1]
    gc.collect()
    assert len(references) >= 2
    assert {reference() for reference in references} == {None}
    with pytest.raises(Exception) as first:  # noqa: PT011
        f(1)
    with pytest.raises(type(first.value)) as second:
        f(1)
    assert calls == [1, 1]
    assert first.value is not second.value
    assert isinstance(first.value.__cause__, (KeyError, ValueError, ImportError, Wrapper))
    assert depth_of(first.value) == depth_of(second.value)


def test_what_a_remembered_error_held_is_there_without_frames() -> None:
    f = cached(negative_ttl=60)(lambda fail: fail())

    def remembered(fail: Any) -> Any:
        with pytest.raises((Wrapper, Called)):
            f(fail)
        with pytest.raises((Wrapper, Called)) as raised:
            f(fail)
        return raised.value

    inner = remembered(in_args).args[1]
    assert (type(inner), inner.args, inner.__traceback__, type(inner.__cause__)) == (
        ValueError,
        (2,),
        None,
        KeyError,
    )
    held = remembered(in_attributes)
    first, (traceback, one) = held.reason["errors"]
    assert (repr(first), traceback, one, repr(held.slot)) == ("ValueError(2)", None, 1, "ValueError(2)")
    whole = remembered(called_group)
    assert (whole.message, repr(whole.exceptions), whole.args[1]) == (
        "exit code 5",
        "(ValueError(2), ValueError(3))",
        5,
    )
    assert whole.args[0][0] is whole.exceptions[0]
    ring = remembered(in_a_ring)
    assert ring.me[0].args[0].outer is ring.me[0].args[0].also is ring.me[99]


def test_a_group_that_is_within_itself_is_not_remembered() -> None:
    calls = []

    @cached(negative_ttl=60)
    def f() -> None:
        calls.append(1)
        part = ValueError()
        part.whole = ExceptionGroup("whole", [part])  # type: ignore[attr-defined]
        raise part.whole  # type: ignore[attr-defined]

    for _ in range(2):
        with pytest.raises(ExceptionGroup):
            f()
    assert calls == [1, 1]


async def test_a_failed_load_leaves_nothing_for_the_collector() -> None:
    references.clear()
    cache: Cache[int, None] = Cache()
    gc.disable()
    try:
        with contextlib.suppress(ValueError):
            cache.get_or_load(1, lambda key: chain())
        with contextlib.suppress(ValueError):
            await cache.aget_or_load(1, lambda key: chain())
        await settle()
        assert [reference() for reference in references] == [None, None]
    finally:
        gc.enable()
