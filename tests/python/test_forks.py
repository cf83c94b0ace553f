"""A fork at the worst moment: while another thread holds a lock of the core. No child ever hangs."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fork_scenes import SCENES
from http2_peer import nghttpd_over
from redis_server import redis_server

SUPPORT = Path(__file__).parent / "support"
# Forks for each place that takes a lock: scripts/campaign asks for 100.
FORKS = int(os.environ.get("MCP_TEST_FORKS", "1"))


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stops a thread that has just taken a mutex; see fork_probe.c."""
    library = tmp_path_factory.mktemp("probe") / "fork_probe.so"
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    assert compiler is not None, "the compiler that built the package is gone"
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-O1", "-o", library, SUPPORT / "fork_probe.c", "-ldl"], check=True
    )
    return library


@contextlib.contextmanager
def peer_of(scene: str, folder: Path) -> Iterator[str]:
    """The URL of what the scene talks to."""
    if scene == "caches":
        with redis_server() as server:
            yield server.url
    elif scene == "http2":
        (folder / "file").write_bytes(b"x" * 1000)
        with nghttpd_over(folder) as url:
            yield url
    else:
        yield ""


@pytest.mark.timeout(1800 if FORKS == 1 else 7200)
@pytest.mark.parametrize("scene", SCENES)
def test_a_child_born_under_any_single_lock_works_and_ends(scene: str, probe: Path, tmp_path: Path) -> None:
    """A lock that the fork waits for is free in the child; every other one the child must not need."""
    with peer_of(scene, tmp_path) as url:
        run = subprocess.run(
            [sys.executable, str(SUPPORT / "fork_scenes.py"), scene, str(tmp_path), url, str(FORKS)],
            env={**os.environ, "LD_PRELOAD": str(probe)},
            capture_output=True,
            text=True,
            check=False,
        )
    assert run.returncode == 0, run.stderr
    told: dict[str, Any] = json.loads(run.stdout)
    assert told["wrong"] == []
    ends = {place: seen["ends"] for place, seen in told["places"].items()}
    assert {place: codes for place, codes in ends.items() if any(codes)} == {}, run.stderr
    assert any(ends.values()), "no fork met a lock"


LOCKS_OF_PYTHON = """
import os, signal, sys, threading

made = []
def recording(factory):
    def make(*args):
        lock, frame = factory(*args), sys._getframe(1)
        if "mcp_performance" in frame.f_code.co_filename:
            made.append((f"{frame.f_code.co_filename}:{frame.f_lineno}", lock))
        return lock
    return make
threading.Lock, threading.RLock = recording(threading.Lock), recording(threading.RLock)

from mcp_performance import *

tiered = TieredCache(Cache(10), RedisTier("redis://127.0.0.1:1", timeout=0.05))
store, monitor = IdempotencyStore(), PerformanceMonitor()
kept = Cache(5, ttl=100)
kept["a"] = 1
pool = SQLitePool(":memory:")

@idempotent(store=store, key="{n}")
def once(n):
    return n

def use():
    Cache(5, ttl=100)["a"] = 1
    assert kept["a"] == 1 and once(7) == 7
    try:
        tiered.set("k", 1)
    except CacheError:
        pass
    tiered.memory.set("k", 2)
    monitor.report(), monitor.prometheus()
    assert pool.blocking.fetchval("SELECT 5") == 5

use()
for where, lock in list(made):
    held, go_on = threading.Event(), threading.Event()
    def hold():
        with lock:
            held.set()
            go_on.wait()
    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        use()
        sys.exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    go_on.set()
    thread.join()
    print(code, where)
use()
"""


@pytest.mark.timeout(600)
def test_a_child_born_under_a_lock_of_the_python_package_works_and_ends() -> None:
    run = subprocess.run(
        [sys.executable, "-c", LOCKS_OF_PYTHON], capture_output=True, text=True, check=False, timeout=500
    )
    assert run.returncode == 0, run.stderr
    ends = run.stdout.splitlines()
    assert [end for end in ends if not end.startswith("0 ")] == [], run.stderr
    rooms = {end.split("mcp_performance/")[-1].split("/")[0] for end in ends}
    assert rooms >= {"_base", "cache", "idempotency", "monitor", "tiers"}
