"""A slot of which some keys lie here and some there for a while: reads succeed, nothing is lost."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from clusters import Cluster, cluster
from mcp_performance import Cache, CacheError, RedisTier, TieredCache, cached
from mcp_performance.tiers._layout import slot_of
from redis_server import RedisServer, eventually

PATIENT = 20.0


@pytest.fixture(scope="module")
def servers() -> Iterator[Cluster]:
    with cluster(masters=2) as made:
        yield made


class Half:
    """A slot with twenty values of one tag, half of which have moved; and two processes that use it."""

    def __init__(self, servers: Cluster, namespace: str) -> None:
        self.servers = servers
        self.caches = [
            TieredCache(Cache(1000), url=servers.url, timeout=PATIENT, namespace=namespace) for _ in range(2)
        ]
        self.one, self.other = self.caches
        self.tier = RedisTier(servers.url, timeout=PATIENT, namespace=namespace)
        self.slot = slot_of(self.tier._spell("key 0"))
        self.keys, self.plain = self._keys("key", 20), self._keys("plain", 8)
        self.tier.set_many({key: f"{key} old" for key in self.keys}, tags=("t",))
        self.tier.set_many({key: f"{key} old" for key in self.plain})
        self.loads: list[str] = []
        self.functions = [_function(cache, self.loads) for cache in self.caches]
        self.called = self._keys("called", 8, self.functions[0].cache_key)
        assert [self.functions[0](key) for key in self.called] == self.called
        assert self.one.get_many(self.keys) == {key: f"{key} old" for key in self.keys}
        self.source = servers.owner(self.slot)
        self.target = next(node for node in servers.masters if node is not self.source)
        servers.begin_move(self.slot, self.source, self.target)
        self._move([*self.keys[::2], *self.plain[::2], *map(self.functions[0].cache_key, self.called[::2])])

    def new_calls(self) -> list[str]:
        """What no function has been called with."""
        return self._keys("new", 6, self.functions[0].cache_key)

    def _keys(self, word: str, count: int, key_of: Callable[[str], Any] = str) -> list[str]:
        """So many words, whose keys are of the slot."""
        words = (f"{word} {number}" for number in itertools.count())
        here = (each for each in words if slot_of(self.tier._spell(key_of(each))) == self.slot)
        return list(itertools.islice(here, count))

    def _move(self, keys: list[Any]) -> None:
        names = [self.tier._spell(key) for key in keys]
        self.source.cli("MIGRATE", "127.0.0.1", str(self.target.port), "", "0", "5000", "KEYS", *names)

    def end(self) -> None:
        """No key is on both nodes: one would be in the way of the other."""
        if self.servers.owner(self.slot) is not self.source:
            return
        here = set(self.names_at(self.source))
        assert here.isdisjoint(self.names_at(self.target))
        self.servers.move_keys(self.slot, self.source, self.target)
        self.servers.end_move(self.slot, self.source, self.target)

    def names_at(self, node: RedisServer) -> list[str]:
        return node.cli("--raw", "CLUSTER", "GETKEYSINSLOT", str(self.slot), "1000").splitlines()

    def close(self) -> None:
        self.end()
        for cache in self.caches:
            cache.close()
        self.tier.close()


def _function(cache: TieredCache, loads: list[str]) -> Any:
    @cached(cache=cache, name="f", tags=("of {key}",))
    def function(key: str) -> str:
        loads.append(key)
        return key

    return function


@pytest.fixture
def half(servers: Cluster, request: pytest.FixtureRequest) -> Iterator[Half]:
    made = Half(servers, request.node.name.replace("{", "(")[-60:])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # that a function's values are kept alone
        yield made
    made.close()


READS: dict[str, Callable[[Half], Any]] = {
    "get": lambda half: {key: half.other.get(key) for key in half.keys},
    "aget": lambda half: {key: asyncio.run(half.other.aget(key)) for key in half.keys},
    "get_many": lambda half: half.other.get_many(half.keys),
    "tier get": lambda half: {key: half.tier.get(key) for key in half.keys},
    "tier get_many": lambda half: half.tier.get_many(half.keys),
    "tier aget_many": lambda half: asyncio.run(half.tier.aget_many(half.keys)),
}


@pytest.mark.parametrize("way", READS)
def test_every_value_is_read(half: Half, way: str) -> None:
    expected = {key: f"{key} old" for key in half.keys}
    assert READS[way](half) == expected
    half.end()
    assert READS[way](half) == expected


CHANGES: dict[str, tuple[Callable[[Half], Any], Any]] = {
    "set": (lambda half: [half.one.set(key, "new") for key in half.keys], "new"),
    "set_many": (lambda half: half.one.set_many(dict.fromkeys(half.keys, "new")), "new"),
    "aset_many": (lambda half: asyncio.run(half.one.aset_many(dict.fromkeys(half.keys, "new"))), "new"),
    "tier set": (lambda half: [half.tier.set(key, "new") for key in half.keys], "new"),
    "tier set_many": (lambda half: half.tier.set_many(dict.fromkeys(half.keys, "new")), "new"),
    "delete": (lambda half: [half.one.delete(key) for key in half.keys], None),
    "delete_many": (lambda half: half.one.delete_many(half.keys), None),
    "tier delete": (lambda half: [half.tier.delete(key) for key in half.keys], None),
    "tier delete_many": (lambda half: half.tier.delete_many(half.keys), None),
    "tag": (lambda half: half.one.invalidate_tags("t"), None),
    "atag": (lambda half: asyncio.run(half.one.ainvalidate_tags("t")), None),
    "tier tag": (lambda half: half.tier.invalidate_tags("t"), None),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_seen_by_all(half: Half, change: str) -> None:
    assert half.other.get_many(half.keys)
    act, expected = CHANGES[change]
    act(half)
    writer = half.tier if change.startswith("tier") else half.one
    assert [writer.get(key) for key in half.keys] == [expected] * len(half.keys)
    assert [half.tier.get(key) for key in half.keys] == [expected] * len(half.keys)
    for cache in half.caches:  # the others are told by the server
        assert eventually(lambda cache=cache: all(cache.get(key) == expected for key in half.keys))
    half.end()
    assert [half.tier.get(key) for key in half.keys] == [expected] * len(half.keys)
    assert [half.tier.get(key) for key in half.plain] == [f"{key} old" for key in half.plain]


def test_a_function_finds_what_was_stored_and_keeps_what_it_loads(half: Half) -> None:
    loading, finding = half.functions
    new = half.new_calls()
    for _ in range(3):
        assert [finding(key) for key in half.called] == half.called
        assert [loading(key) for key in new] == new
    assert half.loads == [*half.called, *new]
    half.end()
    assert [loading(key) for key in [*half.called, *new]] == [*half.called, *new]


def test_a_function_is_cleared(half: Half) -> None:
    one, other = half.functions
    assert [other(key) for key in half.called] == half.called
    one.cache_clear()
    keys = [one.cache_key(key) for key in half.called]
    assert [half.tier.get(key) for key in keys] == [None] * len(keys)
    assert eventually(lambda: all(half.other.get(key) is None for key in keys))


def test_what_has_tags_is_refused_by_the_tier_and_ends_what_was(half: Half) -> None:
    """The cache in front keeps it, and nobody reads what was there before."""
    key = half.keys[0]
    half.one.set(key, "new", tags=("u",))
    assert half.one.get(key) == "new"
    assert eventually(lambda: half.tier.get(key) in (None, "new"))
    half.end()
    assert eventually(lambda: half.other.get(key) in (None, "new"))


ENDS: dict[str, Callable[[Half, str], Any]] = {
    "tag": lambda half, key: half.other.invalidate_tags(f"of {key}"),
    "atag": lambda half, key: asyncio.run(half.other.ainvalidate_tags(f"of {key}")),
    "tier tag": lambda half, key: half.tier.invalidate_tags(f"of {key}"),
    "cache_clear": lambda half, key: half.functions[1].cache_clear(),
    "cache_invalidate": lambda half, key: half.functions[1].cache_invalidate(key),
    "delete": lambda half, key: half.tier.delete(half.functions[1].cache_key(key)),
}


@pytest.mark.parametrize("when", ["in the load", "after it"])
@pytest.mark.parametrize("is_full", [False, True], ids=["moving", "full"])
@pytest.mark.parametrize("end", ENDS)
def test_what_is_kept_alone_ends_with_what_another_process_ends(
    servers: Cluster, half: Half, end: str, is_full: bool, when: str
) -> None:
    """The cluster takes neither lease nor value from who loads."""
    loads: list[str] = []

    @cached(cache=half.one, name="f", tags=("of {key}",))
    def function(key: str) -> str:
        loads.append(key)
        if when == "in the load" and len(loads) == 1:
            with contextlib.suppress(CacheError):
                ENDS[end](half, key)
        return f"load {len(loads)}"

    key = half.new_calls()[0]
    if is_full:
        half.end()
        assert all(cache.get_many(half.keys) for cache in half.caches)  # they know where the slot is
        servers.limit_memory(1)
    try:
        assert function(key) == "load 1"
        if when == "after it":
            assert function(key) == "load 1"
            with contextlib.suppress(CacheError):  # a full server says so, and all have heard
                ENDS[end](half, key)
        assert eventually(lambda: function(key) != "load 1")
        assert eventually(lambda: function(key) == function(key))  # and what is loaded then is kept
    finally:
        servers.limit_memory(0)
