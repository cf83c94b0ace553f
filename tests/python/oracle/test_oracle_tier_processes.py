"""Processes over one tiered cache, while links between them and Redis are held back, cut, and half open, and
they are killed, and Redis is.

No process is ever given anything older than what it has itself settled, or than what anybody had settled
for longer than the death of a link goes unnoticed; nor anything that nobody wrote. When the faults have
ended, all agree with the source.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fault_proxy import fault_proxy
from oracle_runs import Oracle
from redis_server import RedisServer, redis_server
from tier_actors import Actors
from tier_faults import faults_of

PROCESSES = 3


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


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
