"""With `stale_ttl`, a load that fails gives way to a value that any tier holds within its grace, in every
order of events; and to none that was ended."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cache_support import Clock
from fault_proxy import DOWN, FaultProxy, fault_proxy
from mcp_performance import Cache, RedisTier, TieredCache, cached
from redis_server import RedisServer, eventually, redis_server

PATIENT = 30.0
KEY = "k"


@pytest.fixture(scope="module")
def shared_server() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@pytest.fixture(scope="module")
def shared_proxy(shared_server: RedisServer) -> Iterator[FaultProxy]:
    with fault_proxy(shared_server.port) as proxy:
        yield proxy


class Broken(Exception):
    pass


def surely(holds: Callable[[], object]) -> None:
    """Fail with what is no Exception, which no stale value takes the place of."""
    if not eventually(holds):
        pytest.fail("never")


class Scene:
    """A process behind a proxy whose loads fail, and another one that reaches Redis."""

    def __init__(self, server: RedisServer, proxy: FaultProxy, *, is_async: bool) -> None:
        self.server = server
        self.proxy = proxy
        self.clock = Clock()
        self.tier = RedisTier(proxy.url, timeout=PATIENT)
        self.other = RedisTier(server.url, timeout=PATIENT)
        self.cache = TieredCache(Cache(100, clock=self.clock), self.tier, memory_ttl=60)
        self.fails = True
        self.during: Callable[[Scene], Any] = lambda _: None
        options: Any = {"cache": self.cache, "ttl": 100, "stale_ttl": 1000, "name": "f"}

        @cached(**options)
        def f(key: str) -> str:
            self.during(self)
            return self.end()

        @cached(**options)
        async def af(key: str) -> str:
            await asyncio.to_thread(self.during, self)
            return self.end()

        self.f: Any = f
        self.key = f.cache_key(KEY)
        self.call = (lambda: asyncio.run(af(KEY))) if is_async else (lambda: f(KEY))

    def end(self) -> str:
        if self.fails:
            raise Broken
        return "stale"

    def store(self, value: Any, *, left: float = 999, tags: tuple[str, ...] = ()) -> None:
        """As another process would have, some time ago: stale if less than 1000 seconds are *left*."""
        self.other.set(self.key, value, ttl=left, tags=tags)

    def news_arrive(self) -> None:
        """What is held back is announced, and has been seen to arrive."""
        seen = self.figures("invalidations")
        self.proxy.let_go()
        surely(lambda: self.figures("invalidations") > seen)

    def is_forgotten(self) -> bool:
        """Whether memory has nothing, not even what is stale."""
        self.cache.memory.get(self.key)  # takes the news
        return self.tier._spell(self.key) not in self.cache._kept._keys

    def figures(self, name: str) -> int:
        return int(self.cache._client.stats()[name])

    def close(self) -> None:
        self.proxy.let_go()
        self.cache.close()
        self.tier.close()
        self.other.close()


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def scene(request: Any, shared_server: RedisServer, shared_proxy: FaultProxy) -> Iterator[Scene]:
    shared_server.cli("FLUSHALL")
    shared_proxy.let_go()
    scene = Scene(shared_server, shared_proxy, is_async=request.param)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # Redis is away now and then
        yield scene
        scene.close()


def late_news(scene: Scene) -> None:
    """The link lags: what the load has seen is announced as changed while it runs."""
    scene.store("older")
    assert scene.cache.get(scene.key) == "older"  # so that a change of it is announced
    scene.proxy.hold(DOWN, news=True)
    scene.store("stale")
    scene.cache._changed(scene.tier._spell(scene.key))  # this process knows
    scene.during = Scene.news_arrive


def lost_before_the_look(scene: Scene) -> None:
    scene.store("stale")
    scene.cache.get("another")
    scene.proxy.cut()
    scene.during = lambda scene: scene.proxy.let_go()


def lost_and_back(scene: Scene) -> None:
    scene.store("stale")
    scene.during = lambda scene: (scene.proxy.cut(), scene.proxy.let_go())


def lost_for_good(scene: Scene) -> None:
    scene.store("stale")
    scene.tier._timeout = 0.05  # for how long it hopes
    scene.during = lambda scene: scene.proxy.cut()


def came_late(scene: Scene) -> None:
    scene.during = lambda scene: scene.store("stale")


def fresh_came_late(scene: Scene) -> None:
    scene.during = lambda scene: scene.store("stale", left=1050)


def came_where_none_was_left(scene: Scene) -> None:
    scene.server.cli("SET", scene.tier._spell(scene.key), "what nobody can read")
    scene.during = lambda scene: scene.store("stale")


def lease_was_lost(scene: Scene) -> None:
    scene.store("stale")
    scene.during = lambda scene: scene.server.cli("DEL", scene.tier._spell(scene.key) + b"~")


def memory_forgot(scene: Scene) -> None:
    """Memory drops it in the load, by its own bound; Redis does not."""
    scene.store("stale")
    assert scene.call() == "stale"
    scene.clock.now += 55
    scene.during = lambda scene: setattr(scene.clock, "now", scene.clock.now + 10)


def memory_was_cleared(scene: Scene) -> None:
    scene.store("stale")
    scene.during = lambda scene: scene.cache.memory.clear()


def stale_is_none(scene: Scene) -> None:
    scene.store(None)


SERVED: list[Callable[[Scene], None]] = [
    late_news,
    lost_before_the_look,
    lost_and_back,
    lost_for_good,
    came_late,
    fresh_came_late,
    came_where_none_was_left,
    lease_was_lost,
    memory_forgot,
    memory_was_cleared,
    stale_is_none,
]


@pytest.mark.parametrize("event", SERVED, ids=lambda event: event.__name__)
def test_a_value_within_its_grace_is_served(scene: Scene, event: Callable[[Scene], None]) -> None:
    event(scene)
    assert scene.call() == (None if event is stale_is_none else "stale")


ENDS: dict[str, Callable[[Scene], Any]] = {
    "own delete": lambda scene: scene.cache.delete(scene.key),
    "own tag": lambda scene: scene.cache.invalidate_tags("tag"),
    "own invalidation": lambda scene: scene.f.cache_invalidate(KEY),
    "own clear": lambda scene: scene.f.cache_clear(),
    "delete": lambda scene: scene.other.delete(scene.key),
    "tag": lambda scene: scene.other.invalidate_tags("tag"),
    "DEL": lambda scene: scene.server.cli("DEL", scene.tier._spell(scene.key)),
    "FLUSHALL": lambda scene: scene.server.cli("FLUSHALL"),
    "expiry": lambda scene: scene.server.cli("PEXPIRE", scene.tier._spell(scene.key), "0"),
}


@pytest.mark.parametrize("lags", [False, True], ids=["", "news lag"])
@pytest.mark.parametrize("end", ENDS)
def test_a_value_that_was_ended_in_the_load_is_not_served(scene: Scene, end: str, lags: bool) -> None:
    scene.store("stale", tags=("tag",))
    assert scene.call() == "stale"
    if end == "own clear":  # ends what the function has stored
        scene.fails = False
        scene.clock.now += 1
        scene.server.cli("DEL", scene.tier._spell(scene.key))
        assert eventually(scene.is_forgotten)
        assert scene.call() == "stale"
        scene.server.cli("PEXPIRE", scene.tier._spell(scene.key), "900000")
        assert eventually(scene.is_forgotten)
        scene.fails = True
    if lags:
        scene.proxy.hold(DOWN, news=True)

    def during(scene: Scene) -> None:
        ENDS[end](scene)
        if lags:
            scene.cache.memory.clear()  # it may answer until the news arrive
        else:
            surely(scene.is_forgotten)

    scene.during = during
    with pytest.raises(Broken):
        scene.call()


def test_a_deletion_that_is_owed_counts(scene: Scene) -> None:
    scene.store("stale")
    scene.tier._timeout = 0.05
    scene.during = lambda scene: (scene.proxy.cut(), scene.cache.delete(scene.key))
    with pytest.raises(Broken):
        scene.call()
