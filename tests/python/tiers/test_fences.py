"""What began before a change is stored nowhere after it, whoever changes and whoever loads."""

from __future__ import annotations

import asyncio
import datetime
import decimal
import enum
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fault_proxy import DOWN, FaultProxy, fault_proxy
from mcp_performance import Cache, TieredCache, cached
from redis_server import RedisServer, eventually, redis_server
from shared_stores import SQLiteFile, Store, tier_of

PATIENT = 30.0


@pytest.fixture(scope="module")
def shared_server() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@pytest.fixture
def redis(shared_server: RedisServer) -> RedisServer:
    shared_server.cli("FLUSHALL")
    return shared_server


@pytest.fixture(params=["redis", "sqlite"])
def server(request: pytest.FixtureRequest) -> Iterator[Store]:
    """Either kind of what tiers share."""
    if request.param == "redis":
        yield request.getfixturevalue("redis")
        return
    file = SQLiteFile()
    yield file
    file.stop()


class Process:
    """What a process has: a tier, a cache in front of it, and the function whose results they hold."""

    def __init__(self, url: str, *, timeout: float = PATIENT, memory: Any = None, **options: Any) -> None:
        self.tier = tier_of(url, timeout=timeout)
        self.cache = TieredCache(Cache(100) if memory is None else memory, self.tier)
        self.value: Any = "old"
        self.loads = 0
        self.begun = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()
        options.setdefault("tags", ("all", "key {key}"))
        self.f: Any = cached(cache=self.cache, name="f", **options)(self._load)
        self.af: Any = cached(cache=self.cache, name="f", **options)(self._aload)

    def _load(self, key: Any) -> Any:
        self.loads += 1
        value = self.value
        self.begun.set()
        assert self.go_on.wait(PATIENT)
        return value

    async def _aload(self, key: Any) -> Any:
        self.loads += 1
        value = self.value
        self.begun.set()
        assert await asyncio.to_thread(self.go_on.wait, PATIENT)
        return value

    def close(self) -> None:
        self.go_on.set()
        self.cache.close()
        self.tier.close()


@pytest.fixture
def processes(server: Store) -> Iterator[tuple[Process, Process]]:
    one, other = Process(server.url), Process(server.url)
    yield one, other
    one.close()
    other.close()


Change = Callable[[Process, Store], Any]
CHANGES: dict[str, Change] = {
    "cache_invalidate": lambda process, _: process.f.cache_invalidate("k"),
    "cache_clear": lambda process, _: process.f.cache_clear(),
    "delete": lambda process, _: process.cache.delete(process.f.cache_key("k")),
    "adelete": lambda process, _: asyncio.run(process.cache.adelete(process.f.cache_key("k"))),
    "tag": lambda process, _: process.cache.invalidate_tags("key k"),
    "atag": lambda process, _: asyncio.run(process.cache.ainvalidate_tags("all")),
    "set": lambda process, _: process.cache.set(process.f.cache_key("k"), "new"),
    "aset": lambda process, _: asyncio.run(process.cache.aset(process.f.cache_key("k"), "new")),
    "set_many": lambda process, _: process.cache.set_many({process.f.cache_key("k"): "new"}),
    "aset_many": lambda process, _: asyncio.run(process.cache.aset_many({process.f.cache_key("k"): "new"})),
    "delete_many": lambda process, _: process.cache.delete_many([process.f.cache_key("k")]),
    "tier set_many": lambda process, _: process.tier.set_many({process.f.cache_key("k"): "new"}),
    "tier delete_many": lambda process, _: process.tier.delete_many([process.f.cache_key("k")]),
    "tier delete": lambda process, _: process.tier.delete(process.f.cache_key("k")),
    "tier tag": lambda process, _: process.tier.invalidate_tags("all"),
    "tier set": lambda process, _: process.tier.set(process.f.cache_key("k"), "new"),
    "refresh": lambda process, _: process.f.cache_refresh("k"),
    "DEL": lambda process, server: server.cli("DEL", process.tier._spell(process.f.cache_key("k"))),
    "FLUSHALL": lambda _, server: server.cli("FLUSHALL"),
    "SWAPDB": lambda _, server: server.cli("SWAPDB", "0", "1"),
    "expiry": lambda process, server: server.cli(
        "PEXPIRE", process.tier._spell(process.f.cache_key("k")), "0"
    ),
}


@pytest.mark.parametrize("by", ["itself", "another"])
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_load_that_a_change_overtook_is_stored_nowhere(
    server: Store, processes: tuple[Process, Process], change: str, is_async: bool, by: str
) -> None:
    one, other = processes
    one.go_on.clear()
    results: list[Any] = []
    call = (
        (lambda: results.append(asyncio.run(one.af("k")))) if is_async else lambda: results.append(one.f("k"))
    )
    loading = threading.Thread(target=call)
    loading.start()
    assert one.begun.wait(PATIENT)
    other.value = "new"
    one.value = "new"
    one.loads = 10  # of its own second load, if the change itself makes one
    changer = one if by == "itself" else other
    if change == "refresh" and changer is one:
        one.go_on.set()  # both run the same function: only the order of their ends can be told
    CHANGES[change](changer, server)
    one.go_on.set()
    loading.join()
    assert results in (["old"], ["new"])
    assert one.tier.get(one.f.cache_key("k"), "new") == "new"
    assert eventually(lambda: one.f("k") == "new")
    assert other.f("k") == "new"
    assert one.f("k") == "new"


LAGGING = [way for way in CHANGES if way not in ("refresh", "DEL", "FLUSHALL", "SWAPDB", "expiry")]


def test_what_a_process_has_changed_it_reads_at_once_while_the_news_lag(redis: RedisServer) -> None:
    with fault_proxy(redis.port) as proxy:
        one = Process(proxy.url)
        for way in LAGGING:
            one.value = "old"
            assert one.f("k") == "old"
            assert one.f("k") == "old"
            proxy.hold(DOWN, news=True)
            one.value = "new"
            CHANGES[way](one, server)
            assert one.f("k") == "new", way
            proxy.let_go()
            redis.cli("FLUSHALL")
            assert eventually(lambda: one.cache.memory.get(one.f.cache_key("k")) is None)
        one.close()


@pytest.mark.parametrize("inner", ["set", "delete"])
def test_a_change_inside_a_fill_wins(server: Store, inner: str) -> None:
    """The weigher of the memory runs when a value that was read is about to be kept."""
    acts: list[Callable[[], Any]] = []
    memory: Cache[Any, Any] = Cache(1000, weigher=lambda key, value: (acts.pop()() if acts else None, 1)[1])
    one = Process(server.url, memory=memory)
    one.tier.set("k", "old")
    acts.append((lambda: one.cache.set("k", "new")) if inner == "set" else lambda: one.cache.delete("k"))
    one.cache.get("k")
    assert acts == []
    assert one.cache.get("k") == ("new" if inner == "set" else None)
    one.close()


@pytest.mark.parametrize("way", ["set", "cache_invalidate", "delete"])
def test_a_change_inside_a_loader_wins(processes: tuple[Process, Process], way: str) -> None:
    one, other = processes

    @cached(cache=one.cache, name="g")
    def g(key: str) -> str:
        if not seen:
            seen.append(key)
            if way == "set":
                one.cache.set(g.cache_key(key), "new")
            elif way == "delete":
                one.cache.delete(g.cache_key(key))
            else:
                g.cache_invalidate(key)
            return "old"
        return "new"

    seen: list[str] = []
    g("k")
    assert other.cache.get(g.cache_key("k"), "new") == "new"
    assert g("k") == "new"


def test_a_tag_goes_with_its_value(processes: tuple[Process, Process]) -> None:
    one, other = processes
    one.cache.set("k", 1, tags=("t",))
    assert other.cache.get("k") == 1
    one.cache.set("k", 2)
    assert eventually(lambda: other.cache.get("k") == 2)
    assert other.cache.invalidate_tags("t") == 0
    assert one.cache.get("k") == 2
    assert other.cache.get("k") == 2
    one.cache.set("k", 3, tags=("u",))
    assert one.cache.invalidate_tags("t") == 0
    assert one.cache.get("k") == 3
    assert other.cache.invalidate_tags("u") == 1
    assert one.cache.get("k") is None or eventually(lambda: one.cache.get("k") is None)


def test_a_tag_ends_what_another_process_keeps(processes: tuple[Process, Process]) -> None:
    one, other = processes
    for key in range(50):
        one.cache.set(key, key, tags=("t", f"own {key}"))
    assert all(eventually(lambda key=key: _kept(other.cache, key)) for key in range(50))
    assert one.cache.invalidate_tags("own 7") == 1
    assert eventually(lambda: other.cache.get(7) is None)
    assert other.cache.memory.get(8) == 8
    assert one.cache.invalidate_tags("t") == 49
    assert eventually(lambda: all(other.cache.get(key) is None for key in range(50)))


def _kept(cache: TieredCache, key: Any) -> bool:
    cache.get(key)
    return cache.memory.get(key) is not None


class Level(enum.IntEnum):
    ONE = 1


class Word(enum.StrEnum):
    ONE = "one"


HOUR = datetime.timezone(datetime.timedelta(hours=1))
SAME: list[list[Any]] = [
    [1, 1.0, True, decimal.Decimal("1.00"), complex(1, 0), Level.ONE],
    [0, 0.0, -0.0, False],
    [0.5, decimal.Decimal("0.50")],
    [decimal.Decimal("0.1"), decimal.Decimal("0.10")],
    ["one", Word.ONE],
    [(1, (2.0, "x")), (True, (2, "x"))],
    [frozenset({1, 2}), frozenset({1.0, 2.0})],
    [
        datetime.datetime(2024, 2, 29, 23, 30, tzinfo=datetime.UTC),
        datetime.datetime(2024, 3, 1, 0, 30, tzinfo=HOUR),
    ],
    [datetime.time(12, tzinfo=datetime.UTC), datetime.time(13, tzinfo=HOUR)],
]


@pytest.mark.parametrize("keys", SAME, ids=lambda keys: repr(keys[0]))
def test_equal_keys_are_one_key_in_both_tiers(processes: tuple[Process, Process], keys: list[Any]) -> None:
    one, other = processes
    for written in keys:
        one.cache.set(written, "value")
        assert all(one.cache.get(key) == "value" for key in keys)
        assert all(other.tier.get(key) == "value" for key in keys)
        for read in keys:
            one.f(read)
            assert one.f.cache_invalidate(written) is True
            assert other.tier.get(one.f.cache_key(read)) is None
        assert other.cache.delete(written) is True


def _anew() -> type[enum.Enum]:
    class Kind(enum.Enum):
        ONE = 1

    return Kind


@pytest.mark.parametrize(
    "keys",
    [[float("nan"), float("nan")], [(float("nan"),), (float("nan"),)], [_anew().ONE, _anew().ONE]],
    ids=["nan", "nan in a tuple", "a class made anew"],
)
def test_keys_that_are_only_spelled_alike_are_one_key(
    processes: tuple[Process, Process], keys: list[Any]
) -> None:
    one, other = processes
    first, second = keys
    for end in (
        lambda: one.cache.delete(second),
        lambda: one.cache.delete_many([second]),
        lambda: other.cache.delete(first),
    ):
        other.tier.set(first, "old")
        assert [one.cache.get(key) for key in (first, second, first)] == ["old"] * 3
        assert one.cache.get_many([second, first]) == {second: "old", first: "old"}
        end()
        assert eventually(lambda: [one.cache.get(key) for key in keys] == [None, None])


def test_keys_that_differ_stay_apart(processes: tuple[Process, Process]) -> None:
    one, _ = processes
    keys = [keys[0] for keys in SAME] + ["1", b"1", None, 1.5, decimal.Decimal("0.3"), (1,), ((1,),), Word]
    for number, key in enumerate(keys):
        one.tier.set(key, number)
    assert [one.tier.get(key) for key in keys] == list(range(len(keys)))


def test_cache_clear_ends_what_every_process_would_read(processes: tuple[Process, Process]) -> None:
    one, other = processes

    @cached(cache=one.cache, name="g")
    def g(key: str) -> str:
        return "g"

    assert (one.f("k"), other.f("k"), g("k")) == ("old", "old", "g")
    one.value = other.value = "new"
    one.f.cache_clear()
    assert one.f("k") == "new"
    assert eventually(lambda: other.f("k") == "new")
    assert other.cache.get(g.cache_key("k")) == "g"  # another function's


HANDS: dict[str, Callable[[Process, Any], Any]] = {
    "set": lambda process, key: process.cache.set(key, "by hand"),
    "aset": lambda process, key: asyncio.run(process.cache.aset(key, "by hand")),
    "set_many": lambda process, key: process.cache.set_many({key: "by hand"}),
    "tier set": lambda process, key: process.tier.set(key, "by hand", tags=("all",)),
    "tier set_many": lambda process, key: process.tier.set_many({key: "by hand"}),
}


@pytest.mark.parametrize("by", ["itself", "another"])
@pytest.mark.parametrize("hand", HANDS)
def test_cache_clear_ends_what_was_set_by_hand(
    processes: tuple[Process, Process], hand: str, by: str
) -> None:
    one, other = processes
    key = one.f.cache_key("k")
    HANDS[hand](one, key)
    assert [one.f("k"), one.f("k"), other.f("k"), other.f("k")] == ["by hand"] * 4
    clearer = one if by == "itself" else other
    one.value = other.value = "new"
    clearer.f.cache_clear()
    assert clearer.f("k") == "new"
    assert eventually(lambda: (one.f("k"), other.f("k")) == ("new", "new"))
    one.cache.set(("no function", "k"), "stays")
    one.f.cache_clear()
    assert other.cache.get(("no function", "k")) == "stays"


def test_a_change_between_own_marks_is_known_unless_it_was_broken_off(redis: RedisServer) -> None:
    """Servers before version 7 announce what a script changed to its own client, which says so around it."""
    one = Process(redis.url)
    one.cache.set("k", "old")
    assert eventually(lambda: _kept(one.cache, "k"))
    own, name = one.cache._holder.life_channel, one.tier._spell("k")
    script = "redis.call('PUBLISH', KEYS[1], '<') redis.call('DEL', KEYS[2])"
    redis.cli("EVAL", f"{script} redis.call('PUBLISH', KEYS[1], '>')", "2", own, name)
    one.cache.delete("another")  # its announcement is behind
    assert one.cache.get("k") == "old"
    one.cache.set("k", "old")
    assert eventually(lambda: _kept(one.cache, "k"))
    redis.cli("EVAL", script, "2", own, name)
    assert eventually(lambda: one.cache.get("k") is None)
    one.close()


def test_what_a_process_has_loaded_it_does_not_ask_for(processes: tuple[Process, Process]) -> None:
    one, _ = processes
    assert eventually(lambda: one.f("first") and one.cache.memory.get(one.f.cache_key("first")))
    asked, loads = one.tier.stats().requests, one.loads
    one.f("k")
    assert one.cache.memory.get(one.f.cache_key("k")) == "old"
    assert one.f("k") == "old"
    assert one.loads == loads + 1
    assert one.tier.stats().requests - asked <= 3  # a look, a store, and a tag that is new


def test_memory_notices_that_the_databases_were_swapped(
    server: Store, processes: tuple[Process, Process]
) -> None:
    one, _ = processes
    one.tier.set("k", 1)
    assert eventually(lambda: one.cache.get("k") == 1 and one.cache.memory.get("k") == 1)
    server.cli("SWAPDB", "0", "1")
    assert eventually(lambda: one.cache.get("k") is None)


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_a_failure_that_is_remembered_ends_with_an_invalidation_elsewhere(
    server: Store, is_async: bool
) -> None:
    one, other = Process(server.url), Process(server.url)
    fails = [True]

    def work(key: str) -> str:
        if fails[0]:
            raise ValueError(key)
        return "well"

    async def awork(key: str) -> str:
        return work(key)

    make = cached(cache=one.cache, name="f", negative_ttl=3600, tags=("all",))
    f: Any = make(awork) if is_async else make(work)

    def outcome() -> Any:
        try:
            return asyncio.run(f("k")) if is_async else f("k")
        except ValueError:
            return "fails"

    for change in ("cache_invalidate", "delete", "tier delete", "set"):
        fails[0] = True
        assert outcome() == "fails"
        fails[0] = False
        assert outcome() == "fails"
        CHANGES[change](other, server)
        expected = "new" if change == "set" else "well"
        assert eventually(lambda expected=expected: outcome() == expected), change
        one.f.cache_invalidate("k")
    one.close()
    other.close()


# -- What Redis refuses, and what it is owed


@pytest.fixture
def own_server() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@pytest.fixture
def proxied(own_server: RedisServer) -> Iterator[tuple[RedisServer, FaultProxy]]:
    with fault_proxy(own_server.port) as proxy:
        yield own_server, proxy


@pytest.mark.filterwarnings("ignore:.*caches alone")
def test_a_server_that_refuses_writes_leaves_reads_and_memory_alive(own_server: RedisServer) -> None:
    for refuse, allow in (
        (("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0")),
        (("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE")),
        (("CONFIG", "SET", "min-replicas-to-write", "3"), ("CONFIG", "SET", "min-replicas-to-write", "0")),
    ):
        one = Process(own_server.url)
        one.tier.set("there", 1)
        one.tier.set("gone", 1)
        one.tier.set("set", 1)
        own_server.cli(*refuse)
        assert one.cache.get("there") == 1
        assert (one.f("k"), one.f("k"), one.loads) == ("old", "old", 1)
        one.cache.delete("gone")
        assert one.cache.get("gone") is None
        assert one.cache.get("there") == 1
        one.cache.set("set", 2)
        assert one.cache.get("set") == 2
        one.f.cache_invalidate("k")
        one.value = "new"
        assert one.f("k") == "new"
        own_server.cli(*allow)
        assert eventually(lambda one=one: not one.cache._debts)
        assert one.tier.get("gone") is None
        assert one.tier.get("there") == 1
        assert one.tier.get("set") in (None, 2)
        one.close()
        own_server.cli("FLUSHALL")


@pytest.mark.filterwarnings("ignore:.*caches alone")
@pytest.mark.parametrize("owed", ["delete", "tag", "set", "everything"])
def test_what_is_owed_harms_nothing_newer(
    proxied: tuple[RedisServer, FaultProxy], monkeypatch: pytest.MonkeyPatch, owed: str
) -> None:
    server, proxy = proxied
    if owed == "everything":
        monkeypatch.setattr(TieredCache, "_LONGEST_DEBT", 0)
    one, other = Process(proxy.url, timeout=0.5), Process(server.url)
    for key in ("older", "newer", "another"):
        other.tier.set(key, "before", tags=("t",))
    assert one.cache.get("older") == "before"
    proxy.cut()
    assert eventually(lambda: not one.tier.stats().connected)
    for key in ("older", "newer"):
        if owed == "tag":
            one.cache.invalidate_tags("t")
        elif owed == "set":
            one.cache.set(key, "mine")
        else:
            one.cache.delete(key)
    asked = int(one.cache._latest())
    assert eventually(lambda: int("".join(f"{int(part):06}" for part in server.cli("TIME").split())) > asked)
    other.cache.set("newer", "after", tags=("t",))
    proxy.let_go()
    assert eventually(lambda: not one.cache._debts)
    assert other.tier.get("newer") == "after"
    assert other.tier.get("older") is None
    assert one.cache.get("newer") == "after"
    if owed in ("delete", "set"):
        assert other.tier.get("another") == "before"
    one.close()
    other.close()


@pytest.mark.filterwarnings("ignore:.*caches alone")
def test_nothing_older_is_believed_while_it_is_owed(own_server: RedisServer) -> None:
    one, other = Process(own_server.url), Process(own_server.url)
    other.tier.set("deleted", 1)
    other.tier.set("tagged", 1, tags=("t",))
    other.tier.set("kept", 1)
    own_server.cli("CONFIG", "SET", "min-replicas-to-write", "3")
    one.cache.delete("deleted")
    one.cache.invalidate_tags("t")
    assert [one.cache.get(key) for key in ("deleted", "tagged", "kept")] == [None, None, 1]
    assert one.cache._debts
    own_server.cli("CONFIG", "SET", "min-replicas-to-write", "0")
    assert eventually(lambda: not one.cache._debts)
    assert [other.tier.get(key) for key in ("deleted", "tagged", "kept")] == [None, None, 1]
    one.close()
    other.close()


# -- One load for all processes


def test_processes_that_miss_one_key_load_it_once(server: Store) -> None:
    several = [Process(server.url) for _ in range(5)]
    for process in several:
        process.go_on.clear()
    threads = [threading.Thread(target=process.f, args=("k",)) for process in several]
    for thread in threads:
        thread.start()
    assert eventually(lambda: any(process.begun.is_set() for process in several))
    for process in several:
        process.go_on.set()
    for thread in threads:
        thread.join()
    assert sum(process.loads for process in several) == 1
    assert [process.f("k") for process in several] == ["old"] * 5
    for process in several:
        process.close()


def test_who_waits_loads_itself_when_the_loader_fails(processes: tuple[Process, Process]) -> None:
    one, other = processes

    @cached(cache=one.cache, name="f", tags=("all",))
    def failing(key: str) -> str:
        one.begun.set()
        assert one.go_on.wait(PATIENT)
        raise ValueError(key)

    one.go_on.clear()
    failures: list[BaseException] = []

    def fail() -> None:
        try:
            failing("k")
        except ValueError as error:
            failures.append(error)

    first = threading.Thread(target=fail)
    first.start()
    assert one.begun.wait(PATIENT)
    results: list[Any] = []
    second = threading.Thread(target=lambda: results.append(other.f("k")))
    second.start()
    one.go_on.set()
    first.join()
    second.join()
    assert len(failures) == 1
    assert results == ["old"]


def test_a_long_load_keeps_its_lease(server: Store, processes: tuple[Process, Process]) -> None:
    one, other = processes
    one.go_on.clear()
    first = threading.Thread(target=one.f, args=("k",))
    first.start()
    assert one.begun.wait(PATIENT)
    name = one.tier._spell(one.f.cache_key("k"))
    lives = [int(server.cli("PTTL", name))]

    def is_renewed() -> bool:
        lives.append(int(server.cli("PTTL", name)))
        return lives[-1] > lives[-2] > 0

    assert eventually(is_renewed)
    assert eventually(is_renewed)
    one.go_on.set()
    first.join()
    assert (other.f("k"), one.loads + other.loads) == ("old", 1)
