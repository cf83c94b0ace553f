"""Carries items from any kind of input into a run, without reading further ahead than needed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Collection, Iterable, Iterator
from time import perf_counter
from typing import Any, Protocol, TypeAlias, TypeVar

__all__ = ["Consumer", "Input", "Items", "Run", "Window", "feed", "known_size"]

_T = TypeVar("_T")
Items: TypeAlias = Iterable[_T] | AsyncIterable[_T]
Outcome: TypeAlias = tuple[int, Any, BaseException | None]  # index, value, error

_SLICE_SECONDS = 0.001  # of the loop's time, before other tasks get their turn
_LARGEST_WINDOW = 16_384


class Input(Protocol):
    """What :func:`feed` needs to know of a run."""

    def add(self, items: list[Any] | tuple[Any, ...], /) -> None:
        """Let these items be run too."""

    def close_input(self) -> None:
        """Say that no more items follow."""

    def wait(self, finished: int, /) -> Awaitable[None]:
        """Resolve when *finished* items are done in total, or the run has ended.

        One caller at a time waits.
        """
        ...

    @property
    def finished(self) -> int: ...


class Run(Input, Protocol):
    """One function over items that keep coming. The native ``BatchJob`` is one."""

    def stop(self) -> None:
        """Start nothing more."""

    def finish(self) -> None:
        """Stop, and let go of the function and the items."""

    def take(self) -> list[Outcome]:
        """Hand out what was done since the last call."""
        ...

    @property
    def results(self) -> list[Any]: ...
    @property
    def errors(self) -> dict[int, BaseException]: ...
    @property
    def ended(self) -> bool: ...


class Window:
    """How far a lazy input is read ahead of what is done.

    It starts small, and doubles whenever the workers ran out of items: short functions get what
    they need, and long ones do not make the input pile up.
    """

    def __init__(self, concurrency: int, limit: int | None = None) -> None:
        self.limit = limit or _LARGEST_WINDOW
        self.size = min(2 * concurrency, self.limit)

    @classmethod
    def whole(cls, size: int) -> Window:
        """No bound: the input is in memory already, and so will the results be."""
        window = cls(size, size)
        window.size = size
        return window

    def ran_dry(self) -> None:
        """The workers had nothing to do."""
        self.size = min(2 * self.size, self.limit)


class Consumer:
    """The input of a run whose outcomes are yielded: an item counts as done when it was yielded."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._yielded = 0
        self._room_at = 0
        self._room: asyncio.Future[None] | None = None
        self.add = run.add
        self.close_input = run.close_input

    @property
    def finished(self) -> int:
        return self._yielded

    def wait(self, finished: int) -> Awaitable[None]:
        self._room_at = finished
        self._room = asyncio.get_running_loop().create_future()
        return self._room

    def yielded(self) -> None:
        """Count one outcome as consumed."""
        self._yielded += 1
        if self._room is not None and self._yielded >= self._room_at:
            if not self._room.done():
                self._room.set_result(None)
            self._room = None

    async def outcomes(self, feeder: asyncio.Future[None], ordered: bool) -> AsyncIterator[list[Outcome]]:
        """Yield what is done, in lists, until the run has ended. Raises what *feeder* raised."""
        early: dict[int, Outcome] = {}
        taken = 0
        following = 0
        while True:
            ended = self._run.ended
            outcomes = self._run.take()
            taken += len(outcomes)
            if ordered:
                early.update((outcome[0], outcome) for outcome in outcomes)
                outcomes = []
                while following in early:
                    outcomes.append(early.pop(following))
                    following += 1
            if outcomes:
                yield outcomes
            if ended:
                if feeder.done():
                    feeder.result()
                return
            if feeder.done() and feeder.exception() is not None:
                self.close_input()  # what was read is finished first
            await self._wait(taken + 1, feeder)

    async def _wait(self, finished: int, feeder: asyncio.Future[None]) -> None:
        event = asyncio.ensure_future(self._run.wait(finished))
        if feeder.done():
            await event
        else:  # the input may raise meanwhile
            await asyncio.wait([event, feeder], return_when=asyncio.FIRST_COMPLETED)


def known_size(items: Items[Any]) -> int | None:
    """The number of items where it can be told without reading them."""
    return len(items) if isinstance(items, Collection) else None


def check_items(items: Any) -> None:
    """Raise ``TypeError`` for what cannot be fed."""
    if not isinstance(items, Iterable | AsyncIterable):
        raise TypeError(f"items={items!r}: expected an iterable or an asynchronous iterable")


async def feed(run: Input, items: Items[Any], window: Window) -> None:
    """Add all *items* to *run* as room comes free, and close its input."""
    if isinstance(items, list | tuple) and not isinstance(run, Consumer):
        run.add(items)
    elif isinstance(items, AsyncIterable):
        await _feed_async(run, items, window)
    else:
        await _feed_lazy(run, iter(items), window)
    run.close_input()


async def _feed_async(run: Input, items: AsyncIterable[Any], window: Window) -> None:
    added = 0
    async for item in items:
        await _room(run, added, window)
        run.add((item,))
        added += 1


async def _feed_lazy(run: Input, items: Iterator[Any], window: Window) -> None:
    added = 0
    while True:
        await _room(run, added, window)
        taken: list[Any] = []
        try:
            _take_slice(items, window.size - (added - run.finished), taken)
        finally:  # what was read before an error is run too
            run.add(taken)
        if not taken:
            return
        added += len(taken)
        await asyncio.sleep(0)


async def _room(run: Input, added: int, window: Window) -> None:
    finished = run.finished
    if finished == added:
        if added:
            window.ran_dry()
    elif added - finished >= window.size:
        await run.wait(added - window.size // 2)


def _take_slice(items: Iterator[Any], most: int, taken: list[Any]) -> None:
    until = perf_counter() + _SLICE_SECONDS
    for item in items:
        taken.append(item)
        if len(taken) >= most or perf_counter() > until:
            return
