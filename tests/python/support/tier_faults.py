"""What goes wrong around processes that share a Redis server, each behind a proxy of its own."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from fault_proxy import DOWN, UP, FaultProxy
from redis_server import RedisServer
from tier_actors import Processes

USUAL = {"maxmemory": "0", "maxmemory-policy": "noeviction", "tracking-table-max-keys": "1000000"}
Faults = Callable[[Processes], object]


def faults_of(
    server: RedisServer, proxies: list[FaultProxy], rng: random.Random, *, forgets: bool = True
) -> Faults:
    """One fault at each call, and its end. Whether the server may forget what it has acknowledged."""

    def tell(*words: str) -> Faults:
        return lambda _: server.cli(*words)

    def restart(_: Processes) -> None:
        server.kill()
        time.sleep(rng.choice((0, 0.1)))
        server.start()

    def evict(_: Processes) -> None:
        server.cli("CONFIG", "SET", "maxmemory-policy", "allkeys-random")
        server.cli("CONFIG", "SET", "maxmemory", "1100kb")

    def swap(_: Processes) -> None:
        server.cli("-n", "1", "FLUSHDB")
        server.cli("SWAPDB", "0", "1")

    kinds: list[Faults] = [
        lambda _: rng.choice(proxies).cut(),
        lambda _: rng.choice(proxies).hold(DOWN),  # half open
        lambda _: rng.choice(proxies).hold(DOWN, news=True),  # announcements lag behind replies
        lambda _: rng.choice(proxies).hold(DOWN, news=False),  # and replies behind announcements
        lambda _: rng.choice(proxies).hold(UP),
        tell("SCRIPT", "FLUSH"),
        tell("CLIENT", "KILL", "TYPE", "pubsub"),
        tell("CLIENT", "KILL", "TYPE", "normal"),
        tell("CLIENT", "PAUSE", "100", "ALL"),
        tell("CONFIG", "SET", "maxmemory", "1"),  # reads alone are served
        tell("CONFIG", "SET", "tracking-table-max-keys", "5"),
        lambda processes: processes.kill(),
        lambda processes: processes.freeze(rng.choice((0.01, 0.3))),
    ]
    if forgets:
        kinds += [tell("FLUSHALL"), tell("FLUSHDB", "ASYNC"), evict, swap, restart]

    def disturb(processes: Processes) -> None:
        rng.choice(kinds)(processes)
        time.sleep(rng.choice((0.001, 0.02, 0.3)))
        for proxy in proxies:
            proxy.let_go()
        for name, usual in USUAL.items():
            server.cli("CONFIG", "SET", name, usual)

    return disturb
