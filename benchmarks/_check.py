"""Compares what a benchmark timed with the truth, and ends the run where they differ.

A figure counts only if the work was done right. The rule for every file here: what the timed part returns is
kept, and once the clock has stopped it is compared in full, for each contestant and each round, with what is
known from elsewhere: the rows that were put in, a plain Python count, the peer's answer. Where that would
keep too much, the clock stops every thousand calls (`seconds_each`).
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import chain
from typing import Any, NoReturn, TypeVar

A = TypeVar("A")
PART = 1000
PLAIN = {bool, bytes, float, int, str, type(None)}


class WrongAnswer(Exception):
    """A contestant answered wrongly: its time means nothing."""


def wrong(what: str, found: str) -> NoReturn:
    raise WrongAnswer(f"{what}: {found}")


def same(what: str, got: object, want: object) -> None:
    """Raise WrongAnswer, naming the first place, unless *got* is *want*: values, types, order, length."""
    if found := difference(got, want):
        wrong(what, found)


def within(what: str, got: float, low: float, high: float) -> None:
    """Raise WrongAnswer unless *low* <= *got* <= *high*."""
    if not low <= got <= high:
        wrong(what, f"{got:,} is not within {low:,} and {high:,}")


def difference(got: object, want: object, place: str = "") -> str | None:
    """Where *got* first differs from *want*, in words; None if it does not."""
    at = f"at {place}: " if place else ""
    if type(got) is not type(want):
        return f"{at}{_brief(got)} of type {type(got).__name__}, not {_brief(want)} of {type(want).__name__}"
    if isinstance(got, list | tuple) and isinstance(want, list | tuple):
        return None if _quickly_same(got, want) else _first_of(got, want, place)
    if isinstance(got, dict) and isinstance(want, dict):
        keys = difference(list(got), list(want), f"{place} keys".strip())
        return keys or _any(difference(got[key], want[key], f"{place}[{key!r}]") for key in got)
    if got == want or (got != got and want != want):
        return None
    return f"{at}{_brief(got)}, not {_brief(want)}"


def _first_of(got: Sequence[object], want: Sequence[object], place: str) -> str | None:
    """The first difference of two sequences, and their lengths if those differ."""
    lengths = "" if len(got) == len(want) else f"{len(got):,} entries, not {len(want):,}"
    pairs = enumerate(zip(got, want, strict=False))
    found = _any(difference(one, other, f"{place}[{index}]") for index, (one, other) in pairs)
    if found or not lengths:
        return f"{found} ({lengths})" if found and lengths else found
    index = min(len(got), len(want))
    extra = f"{_brief(got[index])} is too much" if len(got) > index else f"{_brief(want[index])} is missing"
    return f"at {place}[{index}]: {extra} ({lengths})"


def _any(found: Iterable[str | None]) -> str | None:
    return next(filter(None, found), None)


def _quickly_same(got: Sequence[object], want: Sequence[object]) -> bool:
    """True only if values and types are the same, of plain values or rows of them; at the speed of C."""
    if got != want:
        return False
    kinds = list(map(type, got))
    if kinds != list(map(type, want)):
        return False
    if set(kinds) <= {list, tuple}:
        kinds = list(map(type, chain.from_iterable(got)))  # type: ignore[arg-type]
        if kinds != list(map(type, chain.from_iterable(want))):  # type: ignore[arg-type]
            return False
    return set(kinds) <= PLAIN


def _brief(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:97]}..."


def seconds_each(
    what: str, work: Callable[[Sequence[A]], object], items: Sequence[A], answer: Callable[[A], Any]
) -> float:
    """Seconds for one of *items*. *work* answers a list of them; the clock stands while that is compared."""
    took = 0.0
    for first in range(0, len(items), PART):
        part = items[first : first + PART]
        begun = time.perf_counter()
        got = work(part)
        took += time.perf_counter() - begun
        same(f"{what}, calls from {first}", got, [answer(item) for item in part])
    return took / len(items)


async def aseconds_each(
    what: str,
    work: Callable[[Sequence[A]], Awaitable[object]],
    items: Sequence[A],
    answer: Callable[[A], Any],
) -> float:
    """As seconds_each(), of a coroutine."""
    took = 0.0
    for first in range(0, len(items), PART):
        part = items[first : first + PART]
        begun = time.perf_counter()
        got = await work(part)
        took += time.perf_counter() - begun
        same(f"{what}, calls from {first}", got, [answer(item) for item in part])
    return took / len(items)
