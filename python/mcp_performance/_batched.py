"""Many awaiting callers, one call with their items."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import math
import weakref
from asyncio import AbstractEventLoop, Future, Task, get_running_loop
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Iterable
from typing import Any, Generic, TypeAlias, TypeVar, cast, overload

from .errors import BatchError, ConfigurationError

__all__ = ["Batched", "batched"]

_T = TypeVar("_T")
_R = TypeVar("_R")
_Entry: TypeAlias = tuple[Any, list[Future[Any]], Any]  # item, who waits for it, its key


class _Queue:
    """The items that wait on one loop, and the calls that run there. Used on that loop only."""

    def __init__(self, owner: Batched[Any, Any], loop: AbstractEventLoop) -> None:
        self.loop = weakref.ref(loop)
        self._function = owner.__wrapped__
        self._name = owner.__qualname__
        self._max_size = owner.max_size
        self._max_wait = owner.max_wait
        self._max_concurrency = owner.max_concurrency or math.inf
        self._by_key: dict[Any, _Entry] = {}
        # Where calls have to wait for each other, each calling task has its turn.
        self._fair = owner.max_concurrency is not None
        self._lanes: dict[Task[Any] | None, deque[_Entry]] = {}
        self._waiting = 0
        self._due = False  # the oldest item has waited for max_wait
        self._timer: asyncio.TimerHandle | None = None
        self._calls: set[Task[None]] = set()
        self._context = owner._context

    def add(self, loop: AbstractEventLoop, item: Any, key: Any) -> Future[Any]:
        future: Future[Any] = loop.create_future()
        try:
            entry = self._by_key.get(key)
            if entry is not None:
                entry[1].append(future)
                return future
        except TypeError:  # not hashable: an item of its own
            key = object()
        entry = self._by_key[key] = (item, [future], key)
        lane = asyncio.current_task(loop) if self._fair else None
        entries = self._lanes.get(lane)
        if entries is None:
            entries = self._lanes[lane] = deque()
        entries.append(entry)
        self._waiting += 1
        if self._waiting >= self._max_size:
            self._start_calls(loop)
        elif self._timer is None and not self._due:
            self._timer = loop.call_later(self._max_wait, self._time_is_up, loop, context=self._context)
        return future

    def _time_is_up(self, loop: AbstractEventLoop) -> None:
        self._timer = None
        self._due = True
        self._start_calls(loop)

    def _start_calls(self, loop: AbstractEventLoop) -> None:
        while len(self._calls) < self._max_concurrency and (
            self._waiting >= self._max_size or (self._due and self._waiting)
        ):
            if entries := self._take():
                call = loop.create_task(self._call(entries), context=self._context.copy())
                self._calls.add(call)
                call.add_done_callback(self._ended, context=self._context)
        if not self._waiting:
            self._due = False
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    def _take(self) -> list[_Entry]:
        """The oldest items that somebody still waits for, in turns where lanes are kept."""
        taken: list[_Entry] = []
        while self._waiting and len(taken) < self._max_size:
            lane, entries = next(iter(self._lanes.items()))
            entry = entries.popleft()
            self._waiting -= 1
            if not entries:
                del self._lanes[lane]
            elif len(self._lanes) > 1:  # behind the others
                self._lanes[lane] = self._lanes.pop(lane)
            del self._by_key[entry[2]]
            if any(not future.done() for future in entry[1]):
                taken.append(entry)
        return taken

    async def _call(self, entries: list[_Entry]) -> None:
        try:
            results = list(await self._function([entry[0] for entry in entries]))
            if len(results) != len(entries):
                raise BatchError(f"{self._name} returned {len(results)} results for {len(entries)} items")
        except asyncio.CancelledError:
            for entry in entries:
                for future in entry[1]:
                    future.cancel()
            raise
        except Exception as error:
            results = [error] * len(entries)
        for (_, futures, _), result in zip(entries, results, strict=True):
            failed = isinstance(result, BaseException)
            for future in futures:
                if future.done():
                    continue
                if failed:
                    future.set_exception(result)
                else:
                    future.set_result(result)

    def _ended(self, call: Task[None]) -> None:
        self._calls.discard(call)
        if not call.cancelled() and (error := call.exception()) is not None:
            raise error  # a SystemExit or the like; the loop reports it
        loop = self.loop()
        if loop is not None and self._waiting:
            self._start_calls(loop)


class Batched(Generic[_T, _R]):
    """What :func:`batched` makes of a function: call it with one item, and await the result.

    Safe from any loop; each loop has a queue and calls of its own.
    """

    def __init__(
        self,
        function: Callable[[list[_T]], Awaitable[Iterable[_R | BaseException]]],
        *,
        max_size: int,
        max_wait: float,
        key: Callable[[_T], Hashable] | None,
        max_concurrency: int | None,
    ) -> None:
        functools.update_wrapper(cast(Any, self), function)
        self.__wrapped__ = function
        self.__qualname__: str = getattr(function, "__qualname__", repr(function))
        self.max_size = max_size
        self.max_wait = max_wait
        self.max_concurrency = max_concurrency
        self._key = key
        self._attribute: str | None = None
        # Calls serve many callers: none of them lends its context variables.
        self._context = contextvars.copy_context()
        self._queues: weakref.WeakKeyDictionary[AbstractEventLoop, _Queue] = weakref.WeakKeyDictionary()
        self._last: _Queue | None = None

    def __call__(self, item: _T) -> Future[_R]:
        """Queue *item* for the next call on the running loop.

        Returns:
            A future: the item's own result, or its own error.

        Raises:
            RuntimeError: no event loop runs in this thread.
        """
        loop = get_running_loop()
        queue = self._last
        if queue is None or queue.loop() is not loop:
            queue = self._queues.get(loop)
            if queue is None:
                queue = self._queues[loop] = _Queue(self, loop)
            self._last = queue
        return queue.add(loop, item, item if self._key is None else self._key(item))

    def __set_name__(self, owner: type, name: str) -> None:
        self._attribute = name

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> Batched[_T, _R]: ...
    @overload
    def __get__(self, instance: object, owner: type | None = None) -> Batched[Any, _R]: ...
    def __get__(self, instance: object | None, owner: type | None = None) -> Batched[Any, Any]:
        """On a method: each instance has queues of its own."""
        if instance is None:
            return self
        bound: Batched[Any, Any] = Batched(
            cast(Any, self.__wrapped__).__get__(instance, owner),
            max_size=self.max_size,
            max_wait=self.max_wait,
            key=self._key,
            max_concurrency=self.max_concurrency,
        )
        # The instance's own attribute wins over this descriptor from now on.
        return cast("Batched[Any, Any]", vars(instance).setdefault(self._attribute or bound.__name__, bound))

    __name__: str


@overload
def batched(
    function: Callable[[list[_T]], Awaitable[Iterable[_R | BaseException]]], /
) -> Batched[_T, _R]: ...
@overload
def batched(
    *,
    max_size: int = 100,
    max_wait: float = 0.002,
    key: Callable[[Any], Hashable] | None = None,
    max_concurrency: int | None = None,
) -> Callable[[Callable[[list[_T]], Awaitable[Iterable[_R | BaseException]]]], Batched[_T, _R]]: ...
def batched(
    function: Callable[[list[Any]], Awaitable[Iterable[Any]]] | None = None,
    /,
    *,
    max_size: int = 100,
    max_wait: float = 0.002,
    key: Callable[[Any], Hashable] | None = None,
    max_concurrency: int | None = None,
) -> Any:
    """Gather the items of many awaiting callers into calls of ``async def function(items) -> results``.

    A call starts when *max_size* items wait, or *max_wait* seconds after the first of them came.
    Items go in the order in which they came. Equal keys that wait together are one item, and every
    caller gets its result. An item whose callers were all cancelled is left out.

    The function returns one result an item, in their order; a result that is an exception is raised
    at the callers of that item alone. What the function raises is raised at all its callers, and a
    wrong number of results is a :class:`BatchError` at all of them.

    Args:
        max_size: items in one call at most.
        max_wait: seconds that an item waits for company at most; 0: until the loop's next turn.
        key: what makes two items the same; the item itself when ``None``. Items whose key is not
            hashable are never the same.
        max_concurrency: calls at a time on each loop. While they are at their limit, the tasks that
            queue items take turns, so that one with many items does not shut out the others.

    Raises:
        ConfigurationError: an option is out of its range.
        TypeError: the function, or an option, is of the wrong type.
    """
    _check_count("max_size", max_size)
    if max_concurrency is not None:
        _check_count("max_concurrency", max_concurrency)
    if isinstance(max_wait, bool) or not isinstance(max_wait, int | float):
        raise TypeError(f"max_wait={max_wait!r}: expected seconds")
    if not 0 <= max_wait < math.inf:
        raise ConfigurationError(f"max_wait={max_wait!r}: expected seconds, 0 or more")

    def decorate(target: Callable[[list[Any]], Awaitable[Iterable[Any]]]) -> Batched[Any, Any]:
        if not callable(target):
            raise TypeError(f"function={target!r}: expected an async function of a list of items")
        return Batched(target, max_size=max_size, max_wait=max_wait, key=key, max_concurrency=max_concurrency)

    return decorate if function is None else decorate(function)


def _check_count(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name}={value!r}: expected a whole number")
    if not 1 <= value <= 1_000_000:
        raise ConfigurationError(f"{name}={value!r}: expected a whole number from 1 to 1000000")
