"""A fork while a mutex of the core is held, at each place where the work of a scene takes one.

Run as a program, with fork_probe.c preloaded, it prints what became of each place as JSON: how many forks
found the mutex held, and how the children ended. A child uses the parent's object and one of its own, and
exits as any program does. A place is missed where nobody passes by it again, and where the mutex is free
when the fork comes: its holder has the interpreter lock, or a handler of the fork waits for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import logging
import os
import random
import signal
import sqlite3
import sys
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from mcp_performance import (
    BatchProcessor,
    Cache,
    Error,
    HttpClient,
    LoadTester,
    PerformanceMiddleware,
    PerformanceMonitor,
    RedisTier,
    SQLitePool,
    TieredCache,
    batched,
)

Work = Callable[[], object]
PATIENCE = 60  # seconds that a child may take on a busy machine


class Scene:
    """What threads of the parent do over and over, and what a child does once."""

    def __init__(self, works: list[Work], use: Work) -> None:
        self.works = works
        self.use = use


def on_a_loop(make: Callable[[], Coroutine[Any, Any, object]]) -> Work:
    return lambda: asyncio.run(make())


# ---- scenes: each takes a folder and a URL of what it talks to


def sqlite(folder: Path, _: str) -> Scene:
    path = folder / "a.db"
    logger = logging.getLogger("mcp_performance.sqlite")
    logger.addHandler(logging.NullHandler())
    pool = SQLitePool(path, size=3, synchronous="OFF", inline_budget=0, slow_query_threshold=1e-9)
    db = pool.blocking
    db.execute("CREATE TABLE t (x)")
    db.executemany("INSERT INTO t VALUES (?)", [(i,) for i in range(500)])

    async def reads() -> None:
        for i in range(20):
            assert len(await pool.fetch("SELECT x FROM t WHERE x < ?", (i,))) == i
            assert len(await pool.fetch("SELECT x FROM t LIMIT 400", cache=False)) == 400

    async def writes() -> None:
        await asyncio.gather(*(pool.execute("UPDATE t SET x = x WHERE x = ?", (i,)) for i in range(20)))
        async with pool.transaction() as connection:
            await connection.execute("UPDATE t SET x = x WHERE x = 1")
        pool.stats()
        logger.setLevel(random.choice((logging.INFO, logging.WARNING)))  # every statement is slow

    def opens() -> None:
        other = SQLitePool(folder / f"{threading.get_ident()}.db", size=2)
        other.blocking.execute("CREATE TABLE IF NOT EXISTS t (x)")
        other.blocking.fetchval("SELECT count(*) FROM t")
        asyncio.run(other.close())

    def use() -> None:
        with contextlib.suppress(Error):  # the file was in use when the parent forked
            assert db.fetchval("SELECT count(*) FROM t") == 500
        logger.setLevel(logging.INFO)
        # Not named by the process: a long campaign meets the same number again.
        own = SQLitePool(Path(mkdtemp(dir=folder)) / "own.db", slow_query_threshold=1e-9).blocking
        own.execute("CREATE TABLE t (x)")
        assert own.fetchval("SELECT count(*) FROM t") == 0
        pool.stats()

    return Scene([on_a_loop(reads), on_a_loop(writes), opens], use)


def sqlite_replaced_file(folder: Path, _: str) -> Scene:
    """The watch of the file, and what drops everything that was read from the old one."""

    def made(path: Path) -> None:
        with contextlib.closing(sqlite3.connect(path)) as new, new:
            new.execute("CREATE TABLE t (x)")

    path = folder / "a.db"
    made(path)
    pool = SQLitePool(path, size=2, acquire_timeout=60)

    def reads() -> None:
        with contextlib.suppress(Error):  # a statement that ran when the file went
            assert pool.blocking.fetchval("SELECT count(*) FROM t") == 0

    def replaces() -> None:
        new = folder / "new.db"
        made(new)
        os.replace(new, path)

    def use() -> None:
        with contextlib.suppress(Error):
            assert pool.blocking.fetchval("SELECT count(*) FROM t") == 0

    return Scene([reads, reads, replaces], use)


def caches(_: Path, url: str) -> Scene:
    tier = RedisTier(url, timeout=30.0)
    cache: TieredCache = TieredCache(Cache(50), tier)

    def sync() -> None:
        for i in range(20):
            cache.set(i, i)
            assert cache.get(i) in (None, i)
            tier.set(str(i), i)
            assert tier.get(str(i)) == i
        cache.delete(1)
        tier.stats()

    async def loops() -> None:
        await asyncio.gather(*(tier.aset(f"a{i}", i) for i in range(20)))
        await asyncio.gather(*(cache.aget(i) for i in range(20)))

    def use() -> None:
        cache.set("own", "child")
        assert cache.get("own") == "child"
        asyncio.run(loops())
        own: TieredCache = TieredCache(Cache(5), RedisTier(url, timeout=30.0))
        own.set("k", 1)
        assert own.get("k") == 1

    return Scene([sync, on_a_loop(loops)], use)


def batches(_: Path, __: str) -> Scene:
    shared = BatchProcessor(3)

    @batched(max_size=8, max_wait=0.001)
    async def double(items: list[int]) -> list[int]:
        return [2 * item for item in items]

    async def maps(batch: BatchProcessor) -> None:
        for kind in ("cpu", "blocking", None):
            ran = await batch.map(str, range(50), kind=kind, chunk_size=5)
            assert ran.results == [str(i) for i in range(50)]
        assert await asyncio.gather(*(double(i) for i in range(30))) == [2 * i for i in range(30)]

    async def opens() -> None:
        async with BatchProcessor(2) as own:
            await maps(own)

    def use() -> None:
        asyncio.run(maps(shared))
        asyncio.run(opens())

    return Scene([on_a_loop(lambda: maps(shared)), on_a_loop(lambda: maps(shared)), on_a_loop(opens)], use)


def http2(_: Path, url: str) -> Scene:
    client = HttpClient(url, http2=True, timeout=60.0)

    def gets() -> None:
        for _ in range(20):
            assert client.get("/file").status == 200

    def use() -> None:
        assert client.get("/file").status == 200
        assert HttpClient(url, http2=True, timeout=60.0).get("/file").status == 200

    def closes() -> None:
        gets()
        client.close()

    return Scene([gets, gets, closes], use)


def load_tests(_: Path, __: str) -> Scene:
    async def nothing() -> None:
        await asyncio.sleep(0)

    def plain() -> None:
        pass

    async def run(target: Any, rate: float | None = None) -> None:
        result = await LoadTester(target).run_load_test(200, 4, rate=rate)
        assert result.total_requests == 200

    works = [
        on_a_loop(lambda: run(nothing)),
        on_a_loop(lambda: run(plain)),
        on_a_loop(lambda: run(plain, rate=1000)),  # its threads wait between requests
    ]
    return Scene(works, lambda: [work() for work in works])


def monitor(_: Path, __: str) -> Scene:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})

    watched = PerformanceMonitor()
    wrapped = PerformanceMiddleware(app, monitor=watched)

    async def request() -> None:
        scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "scheme": "http"}

        async def send(message: Any) -> None:
            pass

        for _ in range(20):
            await wrapped(scope, send, send)

    def reports() -> None:
        watched.report()
        watched.prometheus()

    def use() -> None:
        asyncio.run(request())
        reports()

    return Scene([on_a_loop(request), reports], use)


SCENES: dict[str, Callable[[Path, str], Scene]] = {
    scene.__name__: scene
    for scene in (
        sqlite,
        sqlite_replaced_file,
        caches,
        batches,
        http2,
        load_tests,
        monitor,
    )
}


# ---- the program


def child(use: Work) -> None:
    signal.alarm(PATIENCE)  # ends a child that hangs
    asyncio._set_running_loop(None)
    use()


def main(name: str, folder: str, url: str, forks: int) -> None:
    probe = ctypes.CDLL(os.environ["LD_PRELOAD"])
    probe.probe_hold.argtypes = [ctypes.c_size_t, ctypes.c_int]
    assert probe.probe_watch(b"/_core."), "the native module is not there"
    scene = SCENES[name](Path(folder), url)
    stop = threading.Event()
    wrong: list[str] = []
    rounds = [0] * len(scene.works)

    def go_on(number: int) -> None:
        while not stop.is_set():
            try:
                scene.works[number]()
            except Exception as error:
                wrong.append(repr(error))
                return
            rounds[number] += 1

    threads = [threading.Thread(target=go_on, args=(number,)) for number in range(len(scene.works))]
    for thread in threads:
        thread.start()
    while min(rounds) < 3 and not wrong:  # every work has shown the places where it takes locks
        stop.wait(0.01)
    found = (ctypes.c_size_t * 512)()
    places: dict[str, dict[str, Any]] = {}
    for site in found[: probe.probe_sites(found)]:
        place = places[hex(site)] = {"held": 0, "missed": 0, "ends": []}
        while place["held"] < forks and place["missed"] <= forks // 10 and not wrong:
            if not probe.probe_hold(site, 100):
                place["missed"] += 1
                continue
            pid = os.fork()
            if pid == 0:
                child(scene.use)
                sys.exit(0)
            place["held" if probe.probe_release() else "missed"] += 1
            place["ends"].append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    stop.set()
    for thread in threads:
        thread.join()
    print(json.dumps({"places": places, "wrong": wrong}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
