"""A process that uses Redis: it forks, ends with commands in flight, and hears Ctrl-C."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from redis_server import RedisServer, redis_server


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


def run_python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-X", "dev", "-c", code, *arguments], capture_output=True, text=True, timeout=60
    )


def test_a_forked_child_starts_afresh_and_the_parent_goes_on(server: RedisServer) -> None:
    run = run_python(
        "import os, sys\n"
        "from mcp_performance import *\n"
        "tier = RedisTier(sys.argv[1], timeout=20.0)\n"
        "cache = TieredCache(Cache(10), tier)\n"
        "tier.set('k', 'v'); assert cache.get('k') == 'v' and cache.memory.get('k') == 'v'\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    assert cache.memory.get('k') is None\n"  # nobody tells the child of changes yet
        "assert tier.get('k') == 'v' and cache.get('k') == 'v' and cache.memory.get('k') == 'v'\n"
        "if child:\n"
        "    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0\n"
        "    assert tier.get('k') == 'v' and cache.get('k') == 'v'\n"
        "    print('parent', tier.stats().losses)\n",
        server.url,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == ["parent", "0"]


def test_the_process_ends_at_once_with_commands_in_flight(server: RedisServer) -> None:
    run = run_python(
        "import asyncio, sys\n"
        "from mcp_performance import *\n"
        "tier = RedisTier(sys.argv[1], timeout=20.0)\n"
        "async def main():\n"
        "    await tier.aping()\n"
        "    for _ in range(10): tier._client.start([('BLPOP', 'never', '0')])\n"
        "asyncio.run(main())\n"
        "print('end')\n",
        server.url,
    )
    assert (run.returncode, run.stdout) == (0, "end\n"), run.stderr


def test_ctrl_c_ends_a_wait_for_redis(server: RedisServer) -> None:
    run = run_python(
        "import os, signal, sys, threading\n"
        "from mcp_performance import *\n"
        "tier = RedisTier(sys.argv[1], timeout=50.0)\n"
        "tier.ping()\n"
        "waits = threading.Thread(target=lambda: ("
        "[None for _ in iter(lambda: tier.stats().in_flight, 1)], os.kill(os.getpid(), signal.SIGINT)))\n"
        "waits.start()\n"
        "try: tier._client.call([('BLPOP', 'never', '0')])\n"
        "except KeyboardInterrupt: print('interrupted')\n",
        server.url,
    )
    assert (run.returncode, run.stdout) == (0, "interrupted\n"), run.stderr
