"""Random orders of all that two processes may do to a few keys, with links for news that lag.

Each reads what is true, or while its news are held back what was true since; but never what is older than a
change of its own, nor what bore a tag that it has ended.
"""

from __future__ import annotations

import asyncio
import decimal
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fault_proxy import DOWN, FaultProxy, fault_proxy
from mcp_performance import Cache, RedisTier, TieredCache, _core, cached
from redis_server import RedisServer, eventually, redis_server

PATIENT = 30.0
NOTHING: Any = "nothing"
FORMS: dict[str, tuple[Any, ...]] = {
    "one": (1, 1.0, True, decimal.Decimal(1)),
    "zero": (0, -0.0, False),
    "text": ("1",),
    "tuple": (("a", 1), ("a", 1.0), ("a", True)),
}
TAGS = ("red", "blue")


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@pytest.fixture(scope="module")
def proxies(server: RedisServer) -> Iterator[list[FaultProxy]]:
    with fault_proxy(server.port) as one, fault_proxy(server.port) as other:
        yield [one, other]


class World:
    """What is true of each key, now and before."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.tags: dict[Any, tuple[str, ...]] = {}  # by value: no two are alike
        self.history: dict[str, list[Any]] = {}
        self.number = 0

    def now(self, key: str) -> Any:
        return self.values.get(key, NOTHING)

    def put(self, key: str, value: Any, tags: tuple[str, ...] = ()) -> None:
        self.values[key] = value
        self.tags[value] = tags
        self.history.setdefault(key, [NOTHING]).append(value)

    def drop(self, key: str) -> None:
        if self.values.pop(key, NOTHING) is not NOTHING:
            self.history[key].append(NOTHING)

    def new(self) -> int:
        self.number += 1
        return self.number

    def time(self, key: str) -> int:
        return len(self.history.setdefault(key, [NOTHING])) - 1


class Actor:
    """One process, behind a proxy."""

    def __init__(self, world: World, proxy: FaultProxy, size: int) -> None:
        self.world = world
        self.proxy = proxy
        self.tier = RedisTier(proxy.url, timeout=PATIENT)
        self.cache = TieredCache(Cache(size), self.tier)
        self.cache.get("connects")
        self.lags = False
        self.since: dict[str, int] = {}  # from when on what was true may be read
        self.ended: set[Any] = set()  # what may not, since it bore a tag that this process has ended
        self.loads = 0

        @cached(cache=self.cache, name="f", tags=("red",))
        def f(x: Any) -> int:
            self.loads += 1
            return world.new()

        @cached(cache=self.cache, name="f", tags=("red",))
        async def af(x: Any) -> int:
            await asyncio.sleep(0)
            return f.__wrapped__(x)

        self.f: Any = f
        self.af: Any = af

    def hold(self) -> None:
        """Its news lag from now on."""
        self.settle()
        self.proxy.hold(DOWN, news=True)
        self.lags = True

    def let_go(self) -> None:
        self.proxy.let_go()
        self.lags = False
        self.settle()

    def settle(self) -> None:
        """All that was announced has arrived: what is read is true."""
        assert eventually(lambda: all(self.shown(key) == self.world.now(key) for key in self.world.history))
        self.since = {key: self.world.time(key) for key in self.world.history}

    def shown(self, key: str) -> Any:
        return self.cache.get(self.spell(key), NOTHING)

    def spell(self, key: str) -> Any:
        return self.f.cache_key(*key[2:]) if key.startswith("f:") else FORMS[key][0]

    def changed(self, key: str) -> None:
        """It was told that its change stands: it reads nothing from before."""
        self.since[key] = self.world.time(key)

    def check(self, key: str, found: Any) -> None:
        if not self.lags:
            assert found == self.world.now(key) or eventually(
                lambda: self.shown(key) == self.world.now(key)
            ), (key, found, self.world.now(key))
        allowed = self.world.history.setdefault(key, [NOTHING])[self.since.get(key, 0) :]
        assert found in allowed, (key, found, allowed)
        assert found not in self.ended, (key, found)

    def close(self) -> None:
        self.proxy.let_go()
        self.cache.close()
        self.tier.close()


def read(actor: Actor, key: str, form: Any, rng: random.Random, runner: asyncio.Runner) -> None:
    cache = actor.cache
    ways: list[Callable[[], Any]] = [
        lambda: cache.get(form, NOTHING),
        lambda: runner.run(cache.aget(form, NOTHING)),
        lambda: cache.get_many([form]).get(form, NOTHING),
        lambda: runner.run(cache.aget_many([form])).get(form, NOTHING),
        lambda: actor.tier.get(form, NOTHING),
    ]
    found = rng.choice(ways)()
    actor.check(key, found)


def call(actor: Actor, key: str, rng: random.Random, runner: asyncio.Runner) -> None:
    """A cached function: the key is found, or loaded. News that come late may keep what was loaded from being
    stored; then nothing is."""
    world, loads = actor.world, actor.loads
    x = key[2:]
    found = actor.f(x) if rng.random() < 0.5 else runner.run(actor.af(x))
    if actor.loads == loads:
        actor.check(key, found)
        return
    world.put(key, found, ("red",))
    actor.changed(key)
    stored = actor.tier.get(actor.spell(key), NOTHING)
    assert stored in (found, NOTHING)
    if stored is NOTHING:
        world.drop(key)


def change(actor: Actor, key: str, form: Any, rng: random.Random, runner: asyncio.Runner) -> None:
    world, cache, tier = actor.world, actor.cache, actor.tier
    way = rng.choice(
        ("set", "aset", "set_many", "aset_many", "tier set", "tier set_many", "tagged", "delete")
    )
    if way == "delete":
        acts: list[Callable[[], Any]] = [
            lambda: cache.delete(form),
            lambda: runner.run(cache.adelete(form)),
            lambda: cache.delete_many([form]),
            lambda: runner.run(cache.adelete_many([form])),
            lambda: tier.delete(form),
            lambda: tier.delete_many([form]),
        ]
        rng.choice(acts)()
        world.drop(key)
        actor.changed(key)
        return
    value = world.new()
    tags = (rng.choice(TAGS),) if way == "tagged" else ()
    if way == "set":
        cache.set(form, value)
    elif way == "aset":
        runner.run(cache.aset(form, value))
    elif way == "set_many":
        cache.set_many({form: value})
    elif way == "aset_many":
        runner.run(cache.aset_many({form: value}))
    elif way == "tier set":
        tier.set(form, value)
    elif way == "tier set_many":
        tier.set_many({form: value})
    else:
        rng.choice((cache, tier)).set(form, value, tags=tags)
    world.put(key, value, tags)
    actor.changed(key)


def end(actor: Actor, rng: random.Random, runner: asyncio.Runner) -> None:
    """What ends many keys at a time."""
    world, cache, tier = actor.world, actor.cache, actor.tier
    if rng.random() < 0.3:
        actor.f.cache_clear()
        ended = {value for key in world.history if key.startswith("f:") for value in world.history[key]}
    else:
        tag = rng.choice(TAGS)
        acts: list[Callable[[], Any]] = [
            lambda: cache.invalidate_tags(tag),
            lambda: runner.run(cache.ainvalidate_tags(tag)),
            lambda: tier.invalidate_tags(tag),
        ]
        rng.choice(acts)()
        ended = {value for value, tags in world.tags.items() if tag in tags}
    ended.discard(NOTHING)
    actor.ended |= ended
    for key, value in list(world.values.items()):
        if value in ended:
            world.drop(key)


def foreign(world: World, actors: list[Actor], raw: RedisTier, rng: random.Random) -> None:
    """What somebody does who is none of us."""
    if rng.random() < 0.2:
        raw._run([("FLUSHALL",)])
        for key in list(world.values):
            world.drop(key)
        return
    key = rng.choice(list(world.history) or ["one"])
    raw._run([("DEL", raw._spell(actors[0].spell(key)))])
    world.drop(key)


@pytest.mark.parametrize("seed", range(8))
def test_what_is_read_was_true(
    server: RedisServer, proxies: list[FaultProxy], monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    made = _core.RedisClient
    # A link that is held back while the machine stands still is not to be taken for one that is lost.
    monkeypatch.setattr(_core, "RedisClient", lambda **options: made(**options | {"ping_interval_s": 60.0}))
    server.cli("FLUSHALL")
    rng = random.Random(seed)
    world = World()
    actors = [Actor(world, proxy, rng.choice((3, 100))) for proxy in proxies]
    with asyncio.Runner() as runner, RedisTier(server.url, timeout=PATIENT) as raw:
        for _ in range(250):
            actor = rng.choice(actors)
            act = rng.random()
            key = rng.choice([*FORMS, "f:a", "f:b"])
            form = actor.spell(key) if key.startswith("f:") else rng.choice(FORMS[key])
            if act < 0.35 and key.startswith("f:"):
                call(actor, key, rng, runner)
            elif act < 0.55:
                read(actor, key, form, rng, runner)
            elif act < 0.85:
                change(actor, key, form, rng, runner)
            elif act < 0.92:
                end(actor, rng, runner)
            elif act < 0.95:
                foreign(world, actors, raw, rng)
            elif actor.lags:
                actor.let_go()
            else:
                actor.hold()
    for actor in actors:
        actor.let_go()
        actor.close()
