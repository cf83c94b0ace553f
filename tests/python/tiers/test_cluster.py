"""redis+cluster://: whoever has the key is asked, tags reach over all slots, and slots may move."""

from __future__ import annotations

import asyncio
import os
import threading
import time
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from clusters import Cluster, cluster
from mcp_performance import (
    BackendUnavailable,
    Cache,
    CacheError,
    ConfigurationError,
    IdempotencyStore,
    RedisTier,
    TieredCache,
    cached,
)
from mcp_performance.tiers._layout import SLOTS, Layout, slot_of
from mcp_performance.tiers._slots import Redirection, SlotMap, redirection_in
from redis_server import RedisServer, eventually, redis_server

PATIENT = 20.0


# -- Without a server


@pytest.mark.parametrize(
    ("name", "slot"),
    [
        (b"123456789", 12739),
        (b"foo", 12182),
        (b"a{foo}b{bar}", 12182),
        (b"{}foo", 9500),
        (b"foo{{bar}}zap", 4015),
    ],
)
def test_the_slot_of_a_name(name: bytes, slot: int) -> None:
    assert slot_of(name) == slot


def test_what_a_script_touches_lies_in_one_slot_and_entries_are_spread() -> None:
    layout = Layout("ns", spread=True)
    slots = sorted(slot_of(part) for part in layout.parts)
    assert [slot * len(slots) // SLOTS for slot in slots] == list(range(len(slots)))
    used = set()
    for key in range(500):
        name = layout.entry(key)
        used.add(slot_of(name))
        part = layout.part_of(name)
        beside = [name + b"~", layout.last_end(name), layout.tag(part, "t{x}"), layout.scope(part, "s")]
        beside += [layout.tag(part, "t") + b"#", layout.entry(key)]
        assert {slot_of(each) for each in beside} == {slot_of(name)}
        assert layout.is_entry(name)
        assert not any(layout.is_entry(each) for each in beside[:-1])
        assert [layout.is_tag(each) for each in (name, *beside)] == [False, False, *[True] * 4, False]
    assert used == set(slots)


NODE = [b"10.0.0.1", 7000, b"id"]


def test_a_map_of_slots() -> None:
    reply = [
        [0, 9, NODE, [b"10.0.0.9", 1, b"r"]],
        [10, 20, [b"", 7001, b"id2"]],
        [30, 30, [None, 7002, b"x", []]],
    ]
    slots = SlotMap.read(reply, "asked")
    assert slots is not None
    a, b, c = ("10.0.0.1", 7000), ("asked", 7001), ("asked", 7002)
    assert [slots.owner(slot) for slot in (0, 9, 10, 20, 21, 29, 30, 31)] == [a, a, b, b, None, None, c, None]
    assert slots.masters() == [a, b, c]
    assert slots.move(21, c)
    assert not slots.move(21, c)
    assert slots.owner(21) == c


@pytest.mark.parametrize(
    "reply",
    [
        None, b"", 7, [], [[]], [[0]], [[0, 1]], [[0, 1, []]], [[0, 1, [b"h"]]], [[0, SLOTS, NODE]],
        [[-1, 2, NODE]], [[2, 1, NODE]], [[0, 1, [b"h", 0]]], [[0, 1, [b"h", 65536]]], [[0, 1, [b"\xff", 1]]],
        [[b"0", 1, NODE]], [[0, 1, [7, 1]], 5], BackendUnavailable("x"),
    ],
)  # fmt: skip
def test_a_reply_that_maps_nothing(reply: Any) -> None:
    assert SlotMap.read(reply, "h") is None


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("MOVED 3999 127.0.0.1:6381", Redirection("MOVED", 3999, ("127.0.0.1", 6381))),
        ("MOVED 3999 127.0.0.1:6381 (more)", Redirection("MOVED", 3999, ("127.0.0.1", 6381))),
        ("MOVED 3999 :6381", Redirection("MOVED", 3999, ("asked", 6381))),
        ("MOVED 3999 ::1:6381", Redirection("MOVED", 3999, ("::1", 6381))),
        ("ASK 0 host.example:1", Redirection("ASK", 0, ("host.example", 1))),
        ("TRYAGAIN Multiple keys request during rehashing of slot", Redirection("TRYAGAIN")),
        ("CLUSTERDOWN The cluster is down", Redirection("CLUSTERDOWN")),
        ("MOVED 99999 h:1", None),
        ("MOVED 1 h:99999", None),
        ("MOVED", None),
        ("MOVED 1 h:x", None),
        ("ERR MOVED 1 h:1", None),
        ("LOADING", None),
    ],
)
def test_a_redirection(text: str, found: Redirection | None) -> None:
    replies = [1, b"MOVED 1 h:1", BackendUnavailable(f"redis answered: {text}"), None]
    assert redirection_in(replies, "asked") == found


# -- With one


@pytest.fixture(scope="module")
def servers() -> Iterator[Cluster]:
    with cluster() as running:
        yield running


@pytest.fixture
def namespace(request: pytest.FixtureRequest) -> str:
    return str(request.node.name)[:50]


def test_a_node_is_no_single_server(servers: Cluster) -> None:
    with (
        RedisTier(servers.masters[0].url, timeout=PATIENT) as tier,
        pytest.raises(BackendUnavailable, match=r"a Redis Cluster: its URL is redis\+cluster://"),
    ):
        tier.set("k", 1)
    with (
        RedisTier(servers.masters[0].url, timeout=PATIENT) as tier,
        pytest.raises(BackendUnavailable, match=r"MOVED .*: its URL is redis\+cluster://"),
    ):
        tier._run([("GET", b"{%d}" % n) for n in range(30)])


def test_a_namespace_has_no_hash_tag_of_its_own(servers: Cluster) -> None:
    with pytest.raises(ConfigurationError, match="namespace="):
        RedisTier(servers.url, namespace="a{b}")


async def test_values_and_tags_lie_on_every_node(servers: Cluster, namespace: str) -> None:
    async with RedisTier(servers.url, timeout=PATIENT, namespace=namespace) as tier:
        for n in range(60):
            await tier.aset(n, n, tags=["all", f"third {n % 3}"])
        for node in servers.masters:
            assert node.cli("--scan", "--pattern", f"{namespace}:*")
        assert [await tier.aget(n) for n in range(60)] == list(range(60))
        assert await tier.adelete(7)
        assert not await tier.adelete(7)
        assert tier.invalidate_tags("third 0", "third 1") == 39
        assert [n for n in range(60) if tier.get(n) is not None] == [n for n in range(60) if n % 3 == 2]
        assert await tier.ainvalidate_tags("all") == 20
        assert all([await tier.aget(n) is None for n in range(60)])
        tier.ping()


def test_what_one_changes_the_other_hears_of_from_every_node(servers: Cluster, namespace: str) -> None:
    with (
        TieredCache(url=servers.url, timeout=PATIENT, namespace=namespace) as one,
        TieredCache(url=servers.url, timeout=PATIENT, namespace=namespace) as two,
    ):
        for n in range(40):
            one.set(n, n, tags=["t"])

        def all_come_from_memory() -> bool:  # once each node is connected
            hits = two.memory.stats().hits
            assert [two.get(n) for n in range(40)] == list(range(40))
            return two.memory.stats().hits == hits + 40

        assert eventually(all_come_from_memory)
        for n in range(0, 40, 2):
            one.set(n, -n)
        assert eventually(
            lambda: [two.get(n) for n in range(40)] == [-n if n % 2 == 0 else n for n in range(40)]
        )
        assert one.invalidate_tags("t") == 20
        assert eventually(lambda: all(two.get(n) is None for n in range(1, 40, 2)))
        assert two.get(2) == -2


def test_a_key_that_several_miss_is_loaded_once(servers: Cluster, namespace: str) -> None:
    loads: list[int] = []
    caches = [TieredCache(url=servers.url, timeout=PATIENT, namespace=namespace) for _ in range(3)]

    def load(n: int) -> int:
        loads.append(n)
        time.sleep(0.05)
        return n

    functions = [cached(cache=each, name="load", tags=["f"])(load) for each in caches]
    answers: list[int] = []
    threads = [
        threading.Thread(target=lambda f=f, n=n: answers.append(f(n))) for n in range(6) for f in functions
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (sorted(loads), len(answers)) == (list(range(6)), 18)
    functions[0].cache_clear()
    # Who has it in memory hears of it later than the call returns.
    assert eventually(lambda: (functions[1](0), loads.count(0)) == (0, 2))
    for each in caches:
        each.close()


async def test_an_idempotency_store_in_a_cluster(servers: Cluster, namespace: str) -> None:
    async with RedisTier(servers.url, timeout=PATIENT, namespace=namespace) as tier:
        for n in range(20):
            store = IdempotencyStore(tier)
            reservation: Any = await store.abegin(f"key {n}", "print")
            await reservation.acomplete(b"done")
            repeat: Any = IdempotencyStore(tier).begin(f"key {n}", "print")
            assert repeat.result == b"done"


def test_what_was_owed_to_a_cluster_is_paid(servers: Cluster, namespace: str) -> None:
    with TieredCache(url=servers.url, timeout=PATIENT, namespace=namespace) as cache:
        for n in range(30):
            cache.set(n, n)
        cache._debts._most = 0
        cache._debts.owe(cache.shared._spell(0), b"9" * 16)  # more than it remembers: everything
        cache._debts.pay()
        assert eventually(lambda: not cache._debts)
        with RedisTier(servers.url, timeout=PATIENT, namespace=namespace) as other:
            assert [other.get(n) for n in range(30)] == [None] * 30


# -- Slots that move


def _two_nodes(servers: Cluster, slot: int) -> tuple[RedisServer, RedisServer]:
    source = servers.owner(slot)
    return source, next(node for node in servers.masters if node is not source)


def test_a_slot_moves(servers: Cluster, namespace: str) -> None:
    with (
        TieredCache(url=servers.url, timeout=PATIENT, namespace=namespace) as cache,
        RedisTier(servers.url, timeout=PATIENT, namespace=namespace) as other,
    ):
        slot = slot_of(cache.shared._spell(0))
        mine = [key for key in range(100) if slot_of(cache.shared._spell(key)) == slot]
        source, target = _two_nodes(servers, slot)
        for key in mine:
            cache.set(key, "before")
            assert cache.get(key) == "before"
        servers.begin_move(slot, source, target)
        servers.move_keys(slot, source, target)
        assert [other.get(key) for key in mine] == ["before"] * len(mine)  # by ASK
        assert [cache.get(key) for key in mine] == ["before"] * len(mine)
        servers.end_move(slot, source, target)
        for key in mine:
            other.set(key, "after")
        assert eventually(lambda: [cache.get(key) for key in mine] == ["after"] * len(mine))
        for key in mine:
            other.set(key, "later")
        assert eventually(lambda: [cache.get(key) for key in mine] == ["later"] * len(mine))


def test_slots_move_under_load(servers: Cluster, namespace: str) -> None:
    """Nobody reads what is older than what was written and acknowledged before the read began."""
    caches = [TieredCache(url=servers.url, timeout=1.0, namespace=namespace) for _ in range(2)]
    slots = [slot_of(part) for part in caches[0].shared._layout.parts]
    stop, stale, reads = threading.Event(), list[str](), 0

    def write_and_read(number: int) -> None:
        nonlocal reads
        key, version = f"key {number}", 0
        while not stop.is_set():
            version += 1
            cache = caches[version % 2]
            cache.set(key, version)
            found = cache.get(key, version)
            reads += 1
            if found < version:
                stale.append(f"{key}: {found} < {version}")

    threads = [threading.Thread(target=write_and_read, args=(number,)) for number in range(6)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a slot on its way may refuse
        for thread in threads:
            thread.start()
        for slot in slots[:6]:
            servers.move(slot, *_two_nodes(servers, slot))
        stop.set()
        for thread in threads:
            thread.join()
    assert reads > 0
    assert stale == []
    for number in range(6):  # and all is well again
        caches[0].set(f"key {number}", "end")
        assert eventually(lambda number=number: caches[1].get(f"key {number}") == "end")
        assert caches[0].shared.get(f"key {number}") == "end"
    for cache in caches:
        cache.close()


# -- Nodes that die


def test_a_replica_takes_over() -> None:
    with cluster(replicas=1) as servers:
        cache = TieredCache(url=servers.url, timeout=PATIENT)
        tier = cache.shared
        keys = [key for key in range(60) if servers.owner(slot_of(tier._spell(key))) is servers.masters[0]]
        assert keys
        for key in range(60):
            cache.set(key, key)
            assert cache.get(key) == key
        assert eventually(lambda: servers.replicas[0].cli("DBSIZE") == servers.masters[0].cli("DBSIZE"))
        servers.masters[0].kill()
        assert eventually(lambda: _stores(tier, keys[0]))
        assert [tier.get(key) for key in keys[1:]] == keys[1:]
        tier.set(keys[1], "new")
        assert eventually(lambda: cache.get(keys[1]) == "new")
        cache.close()


def _stores(tier: RedisTier, key: Any) -> bool:
    try:
        tier.set(key, "after")
    except CacheError:
        return False
    return tier.get(key) == "after"


def test_no_node_answers() -> None:
    with (
        RedisTier("redis+cluster://127.0.0.1:1,127.0.0.1:2", timeout=PATIENT) as tier,
        pytest.raises(
            BackendUnavailable, match=r"no node of the redis cluster says who has which slot: .*refused"
        ),
    ):
        tier.ping()


def test_a_cache_whose_cluster_is_away_serves_alone() -> None:
    with TieredCache(url="redis+cluster://127.0.0.1:1", timeout=PATIENT) as cache:
        with pytest.warns(RuntimeWarning, match="caches alone"):
            cache.set("k", 1)
        assert cache.get("k") == 1
        assert cached(cache=cache)(lambda n: n)(2) == 2


def test_a_single_server_is_no_cluster() -> None:
    with (
        redis_server() as server,
        RedisTier(f"redis+cluster://127.0.0.1:{server.port}", timeout=PATIENT) as tier,
        pytest.raises(BackendUnavailable, match="cluster support disabled"),
    ):
        tier.ping()


def test_a_forked_child_starts_anew(servers: Cluster, namespace: str) -> None:
    with TieredCache(url=servers.url, timeout=PATIENT, namespace=namespace) as cache:
        for n in range(20):
            cache.set(n, n)
            assert cache.get(n) == n
        child = os.fork()
        if child == 0:
            right = [cache.get(n) for n in range(20)] == list(range(20))
            cache.set(0, "child")
            os._exit(0 if right and cache.get(0) == "child" else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert eventually(lambda: cache.get(0) == "child")


async def test_from_event_loops_and_threads_together(servers: Cluster, namespace: str) -> None:
    async with TieredCache(url=servers.url, timeout=PATIENT, namespace=namespace) as cache:
        await asyncio.gather(*(cache.aset(n, n) for n in range(100)))
        found = await asyncio.gather(*(asyncio.to_thread(cache.get, n) for n in range(100)))
        assert found == list(range(100))


@pytest.mark.parametrize("tags", [(), ("t",)], ids=["", "tagged"])
def test_many_keys_are_read_written_and_dropped_where_they_lie(
    servers: Cluster, namespace: str, tags: tuple[str, ...]
) -> None:
    items = {f"key {i}": [i] if i % 3 else i for i in range(400)}
    with RedisTier(servers.url, namespace=f"{namespace}{len(tags)}", timeout=PATIENT) as tier:
        cache = TieredCache(Cache(100), tier)
        for target in (tier, cache):
            target.set_many(items, tags=tags)
            assert target.get_many(items) == items
            assert asyncio.run(target.aget_many(items)) == items
            assert target.delete_many(list(items)[:100]) == 100
            assert len(target.get_many(items)) == 300
            assert target.invalidate_tags("t") == (300 if tags else 0)
            assert len(target.get_many(items)) == (0 if tags else 300)
        cache.close()
