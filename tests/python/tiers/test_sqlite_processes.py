"""Processes over one SQLite file: who dies, who forks, and what a disk or a lock refuses."""

from __future__ import annotations

import asyncio
import resource
import signal
import sqlite3
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mcp_performance import (
    BackendUnavailable,
    SQLiteTier,
    TieredCache,
    cached,
)
from redis_server import eventually

PATIENT = 30.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache.db"


@pytest.fixture
def front(path: Path) -> Iterator[TieredCache]:
    with TieredCache(url=f"sqlite:///{path}", timeout=PATIENT) as cache:
        yield cache


def keeps(cache: TieredCache, key: Any, value: Any) -> bool:
    """Whether *key* is read, and then served from memory."""
    return cache.get(key) == value and cache.memory.get(key) == value


_PRELUDE = "import os, sys, time\nfrom mcp_performance import *\n"


def run_python(code: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-X", "dev", "-c", _PRELUDE + code, *arguments],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_another_process_is_obeyed_when_its_call_has_returned(path: Path, front: TieredCache) -> None:
    """Every kind of change, each seen by the next hit of what memory keeps."""
    other = run_python(
        "cache = TieredCache(url=sys.argv[1], timeout=30.0)\n"
        "f = cached(cache=cache, name='f')(lambda key: 'loaded elsewhere')\n"
        "for line in sys.stdin:\n"
        "    exec(line)\n"
        "    print('done', flush=True)\n",
        f"sqlite:///{path}",
    )
    assert other.stdin is not None
    assert other.stdout is not None
    f: Any = cached(cache=front, name="f")(lambda key: "loaded")
    key = f.cache_key("k")
    for change, expected in (
        ("cache.set(f.cache_key('k'), 'new')", "new"),
        ("cache.delete(f.cache_key('k'))", "loaded"),
        ("cache.invalidate_tags('t')", "loaded"),
        ("f.cache_invalidate('k')", "loaded"),
        ("cache.shared.set(f.cache_key('k'), 'newer')", "newer"),
        ("cache.shared.delete(f.cache_key('k'))", "loaded"),
    ):
        front.set(key, "old", tags=("t",))
        assert keeps(front, key, "old")
        other.stdin.write(change + "\n")
        other.stdin.flush()
        assert other.stdout.readline() == "done\n"
        assert f("k") == expected, change
    _, errors = other.communicate()
    assert errors == ""


def test_who_waits_for_a_process_that_is_killed_loads_itself(path: Path, front: TieredCache) -> None:
    """Long before its lease has run out."""
    holder = run_python(
        "from mcp_performance.tiers import _lease, _tiered\n"
        "_lease.LEASE_MS = _tiered.LEASE_MS = 10_000_000\n"
        "@cached(cache=TieredCache(url=sys.argv[1], timeout=30.0), name='f')\n"
        "def f(key):\n"
        "    print('loading', flush=True)\n"
        "    sys.stdin.read()\n"
        "f('k')\n",
        f"sqlite:///{path}",
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "loading\n"
    results: list[str] = []
    f: Any = cached(cache=front, name="f")(lambda key: "mine")
    waiting = threading.Thread(target=lambda: results.append(f("k")))
    waiting.start()
    waiting.join(0.2)
    assert results == []
    holder.kill()
    waiting.join(PATIENT)
    assert results == ["mine"]
    holder.communicate()


def test_a_forked_child_has_leases_of_its_own(path: Path) -> None:
    """Of a cache that was made before the fork: the death of one process is not that of another."""
    run = run_python(
        "import signal, threading\n"
        "cache = TieredCache(url=sys.argv[1], timeout=30.0)\n"
        "from mcp_performance.tiers import _lease, _tiered\n"
        "_lease.LEASE_MS = _tiered.LEASE_MS = 10_000_000\n"
        "cache.set('warm', 1); assert cache.get('warm') == 1\n"
        "r, w = os.pipe()\n"
        "def load(key):\n"
        "    if os.getpid() == child_of: return 'parent'\n"
        "    os.write(w, b'x'); time.sleep(60)\n"
        "f = cached(cache=cache, name='f')(load)\n"
        "child_of = os.getpid()\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    assert cache.memory.get('warm') is None and cache.get('warm') == 1\n"
        "    f('k')\n"
        "os.read(r, 1)\n"
        "results = []\n"
        "t = threading.Thread(target=lambda: results.append(f('k'))); t.start(); t.join(0.2)\n"
        "assert results == []\n"
        "os.kill(child, signal.SIGKILL); os.waitpid(child, 0)\n"
        "t.join(30); print(results, cache.get('warm'))\n",
        f"sqlite:///{path}",
    )
    out, errors = run.communicate()
    assert (out, run.returncode) == ("['parent'] 1\n", 0), errors


_WRITER = """
cache = TieredCache(url=sys.argv[1], timeout=30.0, **eval(sys.argv[2]))
number = 0
while True:
    number += 1
    cache.set(number % 20, (number, "x" * (number % 9000)), tags=("t", f"key {number % 20}"))
    if number % 50 == 0:
        cache.invalidate_tags("t")
    print(number, flush=True)
"""


def test_a_process_killed_at_any_moment_harms_nothing(path: Path, front: TieredCache) -> None:
    """What it was told is stored is there, and nothing else; who goes on is not held up."""
    url = f"sqlite:///{path}"
    for kill in range(2):
        writer = run_python(_WRITER, url, "{}")
        assert writer.stdout is not None
        for _ in range(20 + 50 * kill):
            writer.stdout.readline()
        writer.kill()
        # Not communicate(), which knows nothing of lines that are here already.
        told = int((writer.stdout.read().split() or [20 + 50 * kill])[-1])
        writer.communicate()
        for number in (told, told + 1):  # the last that it was told of, and the one under way
            found = front.get(number % 20)
            assert found is None or found == (found[0], "x" * (found[0] % 9000))
        newest = front.get(told % 20)
        if told % 50 != 0 and (told + 1) % 50 != 0:
            assert newest is not None
            assert newest[0] == told
        front.set("own", kill)
        assert front.get("own") == kill
    with sqlite3.connect(path) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_processes_that_make_the_file_at_once_make_one(path: Path) -> None:
    several = [
        run_python(
            "cache = TieredCache(url=sys.argv[1], timeout=30.0)\n"
            "print('ready', flush=True); sys.stdin.readline()\n"
            "cache.set(sys.argv[2], 1); print('set', flush=True); sys.stdin.read()\n"
            "print([cache.get(str(n)) for n in range(3)])\n",
            f"sqlite:///{path}",
            str(number),
        )
        for number in range(3)
    ]
    for process in several:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in several:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in several:
        assert process.stdout is not None
        assert process.stdout.readline() == "set\n"
    for process in several:
        out, errors = process.communicate()
        assert out == "[1, 1, 1]\n", errors
    assert [file.name for file in path.parent.iterdir()] == ["cache.db"]


# -- Disks and locks that refuse


@pytest.mark.filterwarnings("ignore:.*caches alone")
def test_a_full_disk_leaves_reads_and_memory_alive(path: Path, front: TieredCache) -> None:
    loads: list[str] = []
    f: Any = cached(cache=front, name="f")(lambda key: (loads.append(key), key)[1])
    front.set("there", 1)
    front.set("gone", 1)
    front.set("set", 1)
    assert keeps(front, "there", 1)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, limits[1]))
    try:
        with pytest.raises(BackendUnavailable, match=str(path)):
            front.shared.set("k", 1)
        assert front.get("there") == 1
        assert front.shared.get("there") == 1
        assert (f("k"), f("k"), loads) == ("k", "k", ["k"])
        front.delete("gone")
        assert front.get("gone") is None
        front.set("set", 2)
        assert front.get("set") == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, previous)
    assert eventually(lambda: not front._debts)
    assert front.shared.get("gone") is None
    assert front.shared.get("there") == 1
    assert front.shared.get("set") in (None, 2)


def test_a_place_that_cannot_be_written_leaves_memory_alive_until_it_can(tmp_path: Path) -> None:
    folder = tmp_path / "later"
    folder.mkdir()
    with TieredCache(url=f"sqlite:///{folder}/cache.db", timeout=PATIENT) as cache:
        folder.rmdir()
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            for _ in range(3):
                cache.set("k", 1)
                assert cache.get("k") == 1
        assert [str(warning.message).count(str(folder)) > 0 for warning in seen] == [True]
        folder.mkdir()
        assert eventually(lambda: not cache._debts)
        cache.set("k", 2)
        with SQLiteTier(f"sqlite:///{folder}/cache.db") as tier:
            assert tier.get("k") == 2
            assert cache.get("k") == 2
            tier.set("k", 3)
            assert cache.get("k") == 3


@pytest.mark.filterwarnings("ignore:.*caches alone")
@pytest.mark.parametrize("most", [10_000, 0], ids=["few", "more than can be remembered"])
def test_a_process_that_stops_in_a_transaction_holds_up_no_reader(
    path: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(TieredCache, "_LONGEST_DEBT", most)
    with TieredCache(url=f"sqlite:///{path}", timeout=0.05) as cache:
        cache.set("there", 1)
        stuck = sqlite3.connect(path, isolation_level=None)
        stuck.execute("BEGIN IMMEDIATE")
        assert cache.get("there") == 1
        f: Any = cached(cache=cache, name="f")(lambda key: key)
        assert f("k") == "k"
        with pytest.raises(BackendUnavailable, match="locked"):
            cache.shared.set("k", 1)
        cache.delete("there")
        assert cache.get("there") is None
        stuck.execute("ROLLBACK")
        stuck.close()
        assert eventually(lambda: not cache._debts)
        assert cache.shared.get("there") is None


async def test_a_loop_runs_on_while_a_write_waits(path: Path) -> None:
    async with TieredCache(url=f"sqlite:///{path}", timeout=PATIENT) as cache:
        await cache.aset("k", 1)
        stuck = sqlite3.connect(path, isolation_level=None)
        stuck.execute("BEGIN IMMEDIATE")
        waiting = [asyncio.ensure_future(cache.aset(key, key)) for key in range(20)]
        for _ in range(20):
            await asyncio.sleep(0)
            assert await cache.aget("k") == 1
        assert not any(task.done() for task in waiting)
        waiting[3].cancel()
        stuck.execute("ROLLBACK")
        stuck.close()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert [await cache.aget(key) for key in (0, 19)] == [0, 19]


# -- The end


def test_a_closed_tier_refuses_and_its_thread_has_ended(path: Path) -> None:
    tier = SQLiteTier(f"sqlite:///{path}")
    asyncio.run(tier.aset("k", 1))
    assert any(thread.name == "mcp-sqlite-tier" for thread in threading.enumerate())
    tier.close()
    tier.close()
    assert not any(thread.name == "mcp-sqlite-tier" for thread in threading.enumerate())
    for operation in (lambda: tier.get("k"), lambda: asyncio.run(tier.aset("k", 2))):
        with pytest.raises(BackendUnavailable, match="closed"):
            operation()


def test_the_process_ends_at_once_with_loads_under_way(path: Path) -> None:
    run = run_python(
        "import asyncio\n"
        "cache = TieredCache(url=sys.argv[1])\n"
        "@cached(cache=cache)\n"
        "async def f(key):\n"
        "    await asyncio.sleep(60)\n"
        "async def main():\n"
        "    tasks = [asyncio.ensure_future(f(key)) for key in range(20)]\n"
        "    await asyncio.sleep(0.05)\n"
        "    for key in range(20): tasks.append(asyncio.ensure_future(cache.aset(key, 1)))\n"
        "    await asyncio.sleep(0)\n"
        "asyncio.run(main())\n"
        "print('end')\n",
        f"sqlite:///{path}",
    )
    out, errors = run.communicate(timeout=60)
    assert (out, run.returncode) == ("end\n", 0), errors
