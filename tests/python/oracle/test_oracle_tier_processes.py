"""Processes over one tiered cache, while links between them and Redis are held back, cut, and half open.

No process is ever given anything older than what it has itself invalidated, nor anything that nobody wrote;
when the faults have ended, all agree with the source.
"""

from __future__ import annotations

import contextlib
import itertools
import pickle
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import tier_actor
from fault_proxy import DOWN, UP, FaultProxy, fault_proxy
from oracle_history import History
from oracle_runs import Oracle
from redis_server import RedisServer, redis_server

PROCESSES = 3
NEVER = 2**63


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


class Actors:
    """The processes of a round, each behind a proxy of its own."""

    def __init__(self, folder: Path, proxies: list[FaultProxy], rng: random.Random, steps: int) -> None:
        self.logs = [folder / f"log {rng.random()}" for _ in range(PROCESSES)]
        source = folder / f"source {rng.random()}"
        source.write_bytes(bytes(8 * tier_actor.KEYS))
        seed, namespace = str(rng.randrange(10**6)), f"actors{rng.random()}"
        self.processes = [
            subprocess.Popen(
                [
                    *(sys.executable, tier_actor.__file__, proxy.url, namespace, str(source), str(log)),
                    *(str(number), str(PROCESSES), seed, str(steps)),
                ],
                stdin=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for number, (proxy, log) in enumerate(zip(proxies, self.logs, strict=True))
        ]

    def work(self) -> bool:
        """Whether one of them has not yet written its log."""
        return any(
            process.poll() is None and not log.exists()
            for process, log in zip(self.processes, self.logs, strict=True)
        )

    def end(self) -> list[str]:
        """Let them look at the keys once more: what they say is wrong."""
        wrong = []
        for process in self.processes:
            _, errors = process.communicate(timeout=120)
            if process.returncode:
                wrong.append(errors)
        return wrong


def disturb(server: RedisServer, proxies: list[FaultProxy], rng: random.Random) -> None:
    """One fault, and its end."""
    proxy = rng.choice(proxies)
    kind = rng.randrange(8)
    if kind == 0:
        proxy.cut()
    elif kind == 1:
        proxy.hold(DOWN)  # half open
    elif kind == 2:
        proxy.hold(DOWN, news=True)  # announcements lag behind replies
    elif kind == 3:
        proxy.hold(DOWN, news=False)  # and replies behind announcements
    elif kind == 4:
        proxy.hold(UP)
    else:
        told = ("FLUSHALL", "SCRIPT FLUSH", "CLIENT KILL TYPE pubsub")[kind - 5]
        server.cli(*told.split())
    time.sleep(rng.choice((0.001, 0.02, 0.3)))
    proxy.let_go()


@pytest.mark.parametrize("faults", [False, True], ids=["calm", "faults"])
def test_processes_agree(server: RedisServer, tmp_path: Path, oracle: Oracle, faults: bool) -> None:
    for rng in oracle.rounds():
        with contextlib.ExitStack() as stack:
            proxies = [stack.enter_context(fault_proxy(server.port)) for _ in range(PROCESSES)]
            actors = Actors(tmp_path, proxies, rng, 20_000 if oracle.long else 1_000)
            while actors.work():
                if faults:
                    disturb(server, proxies, rng)
                time.sleep(0.01)
            wrong = actors.end()
            assert wrong == []
            check([pickle.loads(log.read_bytes()) for log in actors.logs], calm=not faults)


def check(logs: list[tuple[list[Any], list[Any]]], *, calm: bool) -> None:
    """Each process's reads against all writes; its own were settled when they had returned."""
    readers = itertools.count()
    for one, (_, reads) in enumerate(logs):
        history = History()
        for other, (writes, _) in enumerate(logs):
            for key, began, ended, version in writes:
                history.wrote(key, began, ended if other == one else NEVER, version, other)
        for key, began, ended, version in reads:
            # In faults a process that loads alone may be ahead of what others have heard.
            history.was_read(key, began, ended, version, one if calm else next(readers))
        history.check(same_reader=True)
        assert history.reads > 0


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
