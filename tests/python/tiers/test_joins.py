"""Who calls after a change elsewhere joins no load that began before it, whatever was changed, and by whom.

Over a SQLite file that holds as soon as the call that made the change has returned, over Redis as soon as it
is announced.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import pytest

from mcp_performance import Cache, TieredCache, cached
from redis_server import RedisServer, eventually, redis_server
from shared_stores import SQLiteFile, Store, tier_of

PATIENT = 60.0
LONG = "a tag that is too long for a name " * 20


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@pytest.fixture(params=["redis", "sqlite"])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    if request.param == "redis":
        server: RedisServer = request.getfixturevalue("redis")
        server.cli("FLUSHALL")
        yield server
        return
    file = SQLiteFile()
    yield file
    file.stop()


class Process:
    """A cache over the store, and a function in it whose first load waits."""

    def __init__(self, store: Store, tags: Any, is_async: bool) -> None:
        self.tier = tier_of(store.url, timeout=PATIENT)
        self.cache = TieredCache(Cache(100), self.tier)
        self.version = 1
        self.loads = 0
        self.begun, self.go_on = threading.Event(), threading.Event()
        make = cached(cache=self.cache, name="f", tags=tags)
        self.f: Any = make(self._aload) if is_async else make(self._load)
        self._is_async = is_async

    def call(self) -> int:
        found: int = asyncio.run(self.f("k")) if self._is_async else self.f("k")
        return found

    def _load(self, key: str) -> int:
        self.loads += 1
        found = self.version
        if found == 1:
            self.begun.set()
            assert self.go_on.wait(PATIENT)
        return found

    async def _aload(self, key: str) -> int:
        return await asyncio.to_thread(self._load, key)

    def close(self) -> None:
        self.go_on.set()
        self.cache.close()
        self.tier.close()


Change = Callable[[Process, Process, Store], Any]
ENDS: dict[str, Change] = {
    "delete": lambda _, other, __: other.cache.delete(other.f.cache_key("k")),
    "set": lambda _, other, __: other.cache.set(other.f.cache_key("k"), 2),
    "cache_invalidate": lambda _, other, __: other.f.cache_invalidate("k"),
    "a tag": lambda _, other, __: other.cache.invalidate_tags("all"),
    "its own tag": lambda _, other, __: other.cache.invalidate_tags("key k"),
    "an awaited tag": lambda _, other, __: asyncio.run(other.cache.ainvalidate_tags("nobody's", "key k")),
    "a long tag": lambda _, other, __: other.cache.invalidate_tags(LONG),
    "a tag of the tier": lambda _, other, __: other.tier.invalidate_tags("all"),
    "cache_clear": lambda _, other, __: other.f.cache_clear(),
    "the tier here": lambda one, _, __: one.tier.delete(one.f.cache_key("k")),
    "a tag of the tier here": lambda one, _, __: one.tier.invalidate_tags("key k"),
    "FLUSHALL": lambda _, __, store: store.cli("FLUSHALL"),
    "SWAPDB": lambda _, __, store: store.cli("SWAPDB", "0", "1"),
}
OTHERS: dict[str, Change] = {
    "another key": lambda _, other, __: other.cache.delete(other.f.cache_key("j")),
    "another tag": lambda _, other, __: other.cache.invalidate_tags("key j", "key"),
    "the first values of its tags": lambda _, other, __: other.cache.set("j", 1, tags=("all", "key k", LONG)),
    "another function": lambda _, other, __: cached(cache=other.cache, name="g")(lambda k: k).cache_clear(),
}


def run(
    store: Store, change: Change, *, is_async: bool, tags: Any = ("all", "key {key}", LONG)
) -> tuple[Process, Process, ThreadPoolExecutor, Any]:
    """A load is under way in one process while *change* is made."""
    one, other = Process(store, tags, is_async), Process(store, tags, is_async)
    other.version = 2
    other.cache.set("connected", 1)
    assert eventually(lambda: one.cache.get("connected") == 1)
    threads = ThreadPoolExecutor(40)
    first = threads.submit(one.call)
    assert one.begun.wait(PATIENT)
    one.version = 2
    change(one, other, store)
    return one, other, threads, first


def comes_to(version: int, one: Process, store: Store, threads: ThreadPoolExecutor) -> bool:
    """Whether who calls gets *version*, and joins nothing older."""
    if isinstance(store, SQLiteFile):
        return bool(threads.submit(one.call).result(PATIENT) == version)
    # Who calls before it is announced joins, and gets what the load has read.
    return eventually(
        lambda: any(done.result() == version for done in wait([threads.submit(one.call)], 0.5).done)
    )


def end(one: Process, other: Process, threads: ThreadPoolExecutor) -> None:
    one.go_on.set()
    threads.shutdown()
    one.close()
    other.close()


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("change", ENDS)
def test_nobody_joins_what_began_before_a_change(store: Store, change: str, is_async: bool) -> None:
    one, other, threads, first = run(store, ENDS[change], is_async=is_async)
    try:
        if change.endswith("here"):
            assert threads.submit(one.call).result(PATIENT) == 2
        else:
            assert comes_to(2, one, store, threads)
        assert not first.done()
    finally:
        end(one, other, threads)
    assert first.result() == 1  # it began before


@pytest.mark.parametrize("change", ["a tag", "its own tag", "a long tag"])
def test_nor_where_tags_are_told_at_the_end(store: Store, change: str) -> None:
    one, other, threads, _ = run(
        store, ENDS[change], is_async=False, tags=lambda key: ("all", f"key {key}", LONG)
    )
    try:
        assert comes_to(2, one, store, threads)
    finally:
        end(one, other, threads)


@pytest.mark.parametrize("change", OTHERS)
def test_a_change_of_something_else_ends_no_load(store: Store, change: str) -> None:
    one, other, threads, first = run(store, OTHERS[change], is_async=False)
    try:
        assert eventually(lambda: other.cache.get("connected") == 1)
        second = threads.submit(one.call)
        other.cache.set("connected", 2)
        assert eventually(lambda: one.cache.get("connected") == 2)  # what came before has been heard too
        one.go_on.set()
        assert first.result(PATIENT) == second.result(PATIENT) == 1
        assert one.loads == 1
    finally:
        end(one, other, threads)


def test_a_load_after_one_that_was_ended_is_ended_too(store: Store) -> None:
    """The end of the former says nothing of it."""
    one, other, threads, first = run(store, ENDS["delete"], is_async=False)
    try:
        assert eventually(lambda: bool(wait([threads.submit(one.call)], 0.5).done))
        one.cache.delete(one.f.cache_key("k"))
        one.version = 1
        one.begun.clear()
        go_on, one.go_on = one.go_on, threading.Event()
        second = threads.submit(one.call)
        assert one.begun.wait(PATIENT)
        go_on.set()
        assert first.result(PATIENT) == 1
        one.version = 3
        other.cache.delete(other.f.cache_key("k"))
        assert comes_to(3, one, store, threads)
        assert not second.done()
    finally:
        end(one, other, threads)


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("change", ["set", "a tag", "a tag of the tier here", "FLUSHALL"])
def test_nor_what_has_been_read_and_not_yet_been_given(store: Store, change: str, is_async: bool) -> None:
    """The value lies behind the memory, and is read; before it is told, it changes, and somebody joins."""
    one, other = (Process(store, ("all", "key {key}"), is_async) for _ in range(2))
    one.version = other.version = 2
    other.cache.set(other.f.cache_key("k"), 1, tags=("all", "key k"))
    read, go_on = threading.Event(), threading.Event()
    shared_read = one.tier._read

    def slow_read(*arguments: Any) -> Any:
        found = shared_read(*arguments)
        if found == 1 and not read.is_set():
            read.set()
            assert go_on.wait(PATIENT)
        return found

    one.tier._read = slow_read  # type: ignore[method-assign]
    threads = ThreadPoolExecutor(2)
    try:
        first = threads.submit(one.call)
        assert read.wait(PATIENT)
        ENDS[change](one, other, store)
        assert eventually(lambda: one.cache.get(one.f.cache_key("k")) != 1)  # which hears of it
        second = threads.submit(one.call)
        go_on.set()
        assert second.result(PATIENT) == 2
        assert first.result(PATIENT) in (1, 2)
    finally:
        go_on.set()
        end(one, other, threads)
