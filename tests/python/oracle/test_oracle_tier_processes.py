"""Processes over one tiered cache, while links between them and Redis are held back, cut, and half open, and
they are killed, and Redis is.

No process is ever given anything older than what it has itself settled, or than what anybody had settled
for longer than the death of a link goes unnoticed; nor anything that nobody wrote. When the faults have
ended, all agree with the source.
"""

from __future__ import annotations

import contextlib
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fault_proxy import DOWN, UP, FaultProxy, fault_proxy
from oracle_runs import Oracle
from redis_server import RedisServer, redis_server
from tier_actors import Actors

PROCESSES = 3


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


USUAL = {"maxmemory": "0", "maxmemory-policy": "noeviction", "tracking-table-max-keys": "1000000"}
Faults = Callable[[Actors], object]


def faults_of(server: RedisServer, proxies: list[FaultProxy], rng: random.Random) -> Faults:
    """One fault at each call, and its end."""

    def tell(*words: str) -> Faults:
        return lambda _: server.cli(*words)

    def restart(_: Actors) -> None:
        server.kill()
        time.sleep(rng.choice((0, 0.1)))
        server.start()

    def evict(_: Actors) -> None:
        server.cli("CONFIG", "SET", "maxmemory-policy", "allkeys-random")
        server.cli("CONFIG", "SET", "maxmemory", "1100kb")

    def swap(_: Actors) -> None:
        server.cli("-n", "1", "FLUSHDB")
        server.cli("SWAPDB", "0", "1")

    kinds: list[Faults] = [
        lambda _: rng.choice(proxies).cut(),
        lambda _: rng.choice(proxies).hold(DOWN),  # half open
        lambda _: rng.choice(proxies).hold(DOWN, news=True),  # announcements lag behind replies
        lambda _: rng.choice(proxies).hold(DOWN, news=False),  # and replies behind announcements
        lambda _: rng.choice(proxies).hold(UP),
        tell("FLUSHALL"),
        tell("FLUSHDB", "ASYNC"),
        tell("SCRIPT", "FLUSH"),
        tell("CLIENT", "KILL", "TYPE", "pubsub"),
        tell("CLIENT", "KILL", "TYPE", "normal"),
        tell("CLIENT", "PAUSE", "100", "ALL"),
        tell("CONFIG", "SET", "maxmemory", "1"),  # reads alone are served
        tell("CONFIG", "SET", "tracking-table-max-keys", "5"),
        evict,
        swap,
        restart,
        lambda actors: actors.kill(),
        lambda actors: actors.freeze(rng.choice((0.01, 0.3))),
    ]

    def disturb(actors: Actors) -> None:
        rng.choice(kinds)(actors)
        time.sleep(rng.choice((0.001, 0.02, 0.3)))
        for proxy in proxies:
            proxy.let_go()
        for name, usual in USUAL.items():
            server.cli("CONFIG", "SET", name, usual)

    return disturb


@pytest.mark.parametrize("faults", [False, True], ids=["calm", "faults"])
def test_processes_agree(server: RedisServer, tmp_path: Path, oracle: Oracle, faults: bool) -> None:
    figures: Counter[str] = Counter()
    for rng in oracle.rounds(until=lambda: figures["reads"] >= oracle.reads):
        with contextlib.ExitStack() as stack:
            proxies = [stack.enter_context(fault_proxy(server.port)) for _ in range(PROCESSES)]
            urls = [proxy.url for proxy in proxies]
            actors = Actors(tmp_path, urls, rng, 5_000 if oracle.long else 200)
            actors.work(faults_of(server, proxies, rng) if faults else lambda _: None)
            figures.update(actors.end())
            print(f"{dict(figures)}", flush=True)
            assert actors.wrong == []
    assert figures["reads"] > 0


def test_who_waits_for_a_process_that_is_killed_loads_itself(server: RedisServer) -> None:
    """Long before its lease has run out."""
    from mcp_performance import Cache, RedisTier, TieredCache, cached

    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, server.url], stdout=subprocess.PIPE, text=True, stdin=subprocess.PIPE
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "loading\n"
    with RedisTier(server.url, namespace="killed", timeout=30.0) as tier:
        cache = TieredCache(Cache(10), tier)
        results: list[str] = []
        f: Any = cached(cache=cache, name="f")(lambda key: "mine")
        waiting = threading.Thread(target=lambda: results.append(f("k")))
        waiting.start()
        waiting.join(0.2)
        assert results == []
        holder.kill()
        waiting.join(60)
        assert results == ["mine"]
        holder.communicate()
        cache.close()


_HOLDER = """
import sys
from mcp_performance import Cache, RedisTier, TieredCache, cached
from mcp_performance.tiers import _lease, _tiered
_lease.LEASE_MS = _tiered.LEASE_MS = 10_000_000
tier = RedisTier(sys.argv[1], namespace="killed", timeout=30.0)
@cached(cache=TieredCache(Cache(10), tier), name="f")
def f(key):
    print("loading", flush=True)
    sys.stdin.read()
f("k")
"""
