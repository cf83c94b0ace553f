"""What Redis and the tiers over it give is what was put there, in an order that exists.

Through one tier, or one :class:`TieredCache`, no read gives anything older than a write that has returned.
Another instance hears of a change from the server: it may be late, but never goes back, and arrives.
"""

from __future__ import annotations

import asyncio
import functools
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mcp_performance import Cache, RedisTier, TieredCache, cached
from oracle_actors import ABSENT, Act, Read, Source, run_actors, run_threads
from oracle_history import INITIAL, History, now
from oracle_runs import Oracle, some_slices
from oracle_sql import tell_apart, text_of
from redis_server import RedisServer, eventually, redis_server

PATIENT = 30.0
NEVER = 2**63
STEPS = 60


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


def named(name: str, act: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(act)
    def call(*args: Any) -> Any:
        return act(*args)

    call.__qualname__ = name
    return call


def value_of(key: str, version: int) -> tuple[str, int, str]:
    """A value that says whose it is; some are compressed, some are large."""
    return key, version, "é" * (version * 997 % 40_000 if version % 7 == 0 else version % 9)


def version_of(key: str, value: Any) -> Any:
    """The version in *value*, which must be the key's own, to the last character."""
    if value is ABSENT:
        return ABSENT
    assert value == value_of(key, value[1]), f"a foreign or broken value of {key}: {value!r:.200}"
    return value[1]


def writes_of(tier: Any) -> list[Act]:
    return [
        named("set", lambda key, version: tier.set(key, value_of(key, version))),
        named("set", lambda key, version: tier.set(key, value_of(key, version), tags=[f"of {key}"])),
        named("delete", lambda key, _: tier.delete(key)),
        named("tag", lambda key, _: (tier.invalidate_tags(f"of {key}"), tier.delete(key))),
    ]


def awrites_of(tier: Any) -> list[Act]:
    async def drop(key: str, _: int) -> None:
        await asyncio.gather(tier.ainvalidate_tags(f"of {key}"), tier.adelete(key))

    return [
        named("aset", lambda key, version: tier.aset(key, value_of(key, version))),
        named("aset", lambda key, version: tier.aset(key, value_of(key, version), tags=[f"of {key}"])),
        named("adelete", lambda key, _: tier.adelete(key)),
        named("atag", drop),
    ]


def reads_of(tier: Any) -> list[Read]:
    return [named("get", lambda key: version_of(key, tier.get(key, ABSENT)))]


def areads_of(tier: Any) -> list[Read]:
    async def read(key: str) -> Any:
        return version_of(key, await tier.aget(key, ABSENT))

    return [named("aget", read)]


@pytest.mark.parametrize("tiered", [False, True], ids=["tier", "tiered"])
def test_one_instance_never_goes_back(server: RedisServer, oracle: Oracle, tiered: bool) -> None:
    for rng in oracle.rounds():
        source = Source(10)
        namespace = f"one {tiered} {rng.random()}"
        with RedisTier(server.url, timeout=PATIENT, namespace=namespace) as tier:
            subject: Any = TieredCache(Cache(rng.choice((0, 3, 100))), tier) if tiered else tier
            run_actors(
                source,
                rng,
                steps=STEPS,
                threads=2,
                loops=1,
                writes=writes_of(subject),
                reads=reads_of(subject),
                awrites=awrites_of(subject),
                areads=areads_of(subject),
            )
            if tiered:
                subject.close()
        source.history.check()
        assert source.history.reads > 0


class Instance:
    """One of several caches over the same server, with the history as it is seen from there."""

    def __init__(self, number: int, url: str, namespace: str, rng: random.Random) -> None:
        self.number = number
        self.tier = RedisTier(url, timeout=PATIENT, namespace=namespace)
        self.cache = TieredCache(Cache(rng.choice((3, 100))), self.tier)
        self.history = History()
        self.rng = random.Random(rng.random())

    def act(self, keys: list[str], versions: dict[str, int], instances: list[Instance]) -> None:
        own = keys[self.number :: len(instances)]
        writes = writes_of(self.cache)
        for _ in range(3 * STEPS):
            if self.rng.random() < 0.2:
                key = self.rng.choice(own)
                versions[key] = version = versions[key] + 1
                began = now()
                self.rng.choice(writes)(key, version)
                ended = now()
                for instance in instances:
                    settled = ended if instance is self else NEVER
                    instance.history.wrote(key, began, settled, version, self.number)
            else:
                key = self.rng.choice(keys)
                began = now()
                version = version_of(key, self.cache.get(key, ABSENT))
                if version is not ABSENT:
                    self.history.read(key, began, version)

    def close(self) -> None:
        self.cache.close()
        self.tier.close()


def test_instances_hear_of_each_other(server: RedisServer, oracle: Oracle) -> None:
    for rng in oracle.rounds():
        keys = [f"key {i}" for i in range(9)]
        versions = dict.fromkeys(keys, INITIAL)
        namespace = f"several {rng.random()}"
        instances = [Instance(number, server.url, namespace, rng) for number in range(3)]
        run_threads(
            *(functools.partial(one.act, keys, versions, instances) for one in instances),
        )
        for one in instances:
            one.history.check()
        for key in keys:  # when all is written, all agree
            last = value_of(key, versions[key] + 1)
            # What a busy machine does not answer in time its writer keeps alone.
            assert eventually(
                lambda instances=instances, key=key, last=last: _set_for_all(instances, key, last)
            )
        for one in instances:
            one.close()


def _set_for_all(instances: list[Instance], key: str, value: Any) -> bool:
    """Whether all read the *value* that the first has set."""
    instances[0].cache.set(key, value)
    return all(one.cache.get(key) == value for one in instances)


def test_a_function_cached_in_tiers(server: RedisServer, oracle: Oracle) -> None:
    """No call gives what was loaded before an invalidation that had returned; nothing of it is left."""
    for rng in oracle.rounds():
        source = Source(6)
        with RedisTier(server.url, timeout=PATIENT, namespace=f"cached {rng.random()}") as tier:
            tiered = TieredCache(Cache(rng.choice((3, 100))), tier)
            load: Any = cached(cache=tiered, tags=["of {key}"])(source.load)
            aload: Any = cached(cache=tiered, name="async", tags=["of {key}"])(source.aload)

            async def drop(key: str, _: int, aload: Any = aload, load: Any = load) -> None:
                await asyncio.to_thread(both, key, _, aload, load)

            def both(key: str, _: int, aload: Any = aload, load: Any = load) -> None:
                load.cache_invalidate(key)
                aload.cache_invalidate(key)

            run_actors(
                source,
                rng,
                steps=STEPS,
                threads=2,
                loops=1,
                writes=[named("cache_invalidate", both)],
                reads=[named("call", load)],
                awrites=[named("cache_invalidate", drop)],
                areads=[named("acall", aload)],
            )
            source.history.check(same_reader=True)
            for key in source.keys:
                assert load(key) == source.values[key]
                assert asyncio.run(aload(key)) == source.values[key]
            tiered.close()


def any_value_of(rng: random.Random, depth: int = 0) -> Any:
    kind = rng.randrange(9 if depth < 3 else 6)
    if kind < 6:
        plain = (None, True, rng.getrandbits(63), rng.random(), text_of(rng, 3000), rng.randbytes(20))
        return plain[kind]
    items = [any_value_of(rng, depth + 1) for _ in range(rng.randrange(4))]
    if kind == 6:
        return items
    if kind == 7:
        return tuple(items)
    return {text_of(rng, 9): item for item in items}


async def test_pipelined_replies_reach_their_own_callers(server: RedisServer, oracle: Oracle) -> None:
    """Hundreds in flight at once, some of them cancelled: nobody ever gets another's reply."""
    for rng in oracle.rounds():
        namespace = f"pipelined {rng.random()}"
        values = {f"key {i}": any_value_of(rng) for i in range(60)}
        async with RedisTier(server.url, timeout=PATIENT, namespace=namespace) as tier:
            with some_slices(rng):
                await asyncio.gather(*(tier.aset(key, value) for key, value in values.items()))
                keys = rng.choices([*values, "missing"], k=300)
                reads = [asyncio.ensure_future(tier.aget(key, "nothing")) for key in keys]
                threads = [asyncio.ensure_future(asyncio.to_thread(tier.get, key)) for key in values]
                await asyncio.sleep(0)
                for read in rng.sample(reads, k=rng.choice((0, 40, 299))):
                    read.cancel()
                answers = await asyncio.gather(*reads, return_exceptions=True)
                for key, answer in zip(keys, answers, strict=True):
                    if not isinstance(answer, asyncio.CancelledError):
                        assert tell_apart(answer) == tell_apart(values.get(key, "nothing"))
                assert tell_apart(await asyncio.gather(*threads)) == tell_apart(list(values.values()))
