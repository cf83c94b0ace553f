"""More rows of benchmarks/load.py: HTTP/2, users with a state, connections that wait, and what calls cost."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

from _check import same, within
from _nginx import Server, nginx

from mcp_performance import LoadTester, LoadTestResult, Request

CONNECTIONS, IDLE = 10, 10_000

# Connections that are all open and wait: what the generator's process is then, which writes it down.
WAITING = """
import asyncio, json, re, resource, sys, urllib.request
from mcp_performance import LoadTester
resource.setrlimit(resource.RLIMIT_NOFILE, (min(32768, resource.getrlimit(resource.RLIMIT_NOFILE)[1]),) * 2)
url, users = sys.argv[1], int(sys.argv[2])
tester = LoadTester(url, think_time=600)
found = {}
async def look(progress):
    if progress.completed >= users and not found:
        found["memory"] = int(re.search(r"VmRSS:\\s+(\\d+)", open("/proc/self/status").read())[1])
        with urllib.request.urlopen(url + "status") as reply:
            found["open"] = int(re.search(r"Active connections: (\\d+)", reply.read().decode())[1]) - 1
        tester.stop()
result = asyncio.run(tester.run_load_test(concurrent_users=users, duration=120, progress=look))
print(json.dumps({**found, "requests": result.total_requests, "failed": result.failed}))
"""


def _h2load(url: str, streams: int, seconds: float) -> float:
    command = ["h2load", "-t1", f"-c{CONNECTIONS}", f"-m{streams}", f"-D{max(1, round(seconds))}", url]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rate = re.search(r"([0-9.]+) req/s", out)
    failed = re.search(r"(\d+) failed, (\d+) errored, (\d+) timeout", out)
    if rate is None or failed is None or any(int(count) for count in failed.groups()):
        raise SystemExit(f"h2load: {out}")
    return float(rate[1])


def _ours(server: Server, tester: LoadTester, users: int, seconds: float) -> float:
    before = server.requests()
    result = asyncio.run(tester.run_load_test(concurrent_users=users, duration=seconds))
    if result.failed:
        raise SystemExit(f"requests failed: {result.errors}")
    same("requests that the server counted", server.requests() - before, result.total_requests)
    return result.requests_per_second


def http2(rows: list[str], seconds: float, rounds: int) -> None:
    """HTTP/2 from the first byte, ten connections of one thread."""
    if shutil.which("h2load") is None:
        rows.append("| HTTP/2 requests/s | - | h2load is not installed (nghttp2-client) | - | >= 0.95 x |")
        return
    with nginx() as server:
        for streams in (1, 10, 100):
            mine, peer = [], []
            for _ in range(rounds):
                tester = LoadTester(server.http2_url, http2=True, streams=streams)
                mine.append(_ours(server, tester, CONNECTIONS * streams, seconds))
                peer.append(_h2load(server.http2_url, streams, seconds))
            ratio = statistics.median(a / b for a, b in zip(mine, peer, strict=True))
            rows.append(
                f"| HTTP/2 requests/s, {CONNECTIONS} connections of {streams} streams | "
                f"{statistics.median(mine):,.0f} | h2load {statistics.median(peer):,.0f} | {ratio:.2f} x | "
                ">= 0.95 x |"
            )


def with_a_state(rows: list[str], seconds: float, rounds: int) -> None:
    """Users that extract a value of each answer and send it with the next request, against plain requests."""
    with nginx() as server:
        save = {"word": "regex:hello (\\w+)"}
        scenario = [Request("GET", "/", save=save), Request("GET", "/echo/{word}", expect_body="/echo/world")]
        plain = [Request("GET", "/"), Request("GET", "/echo/world", expect_body="/echo/world")]
        mine, other = [], []
        for _ in range(rounds):
            mine.append(_ours(server, LoadTester(server.url, scenario=scenario), 100, seconds))
            tester = LoadTester(server.url, scenario=plain, order="sequential")
            other.append(_ours(server, tester, 100, seconds))
        ratio = statistics.median(a / b for a, b in zip(mine, other, strict=True))
        rows.append(
            f"| requests/s with an extraction, 100 connections | {statistics.median(mine):,.0f} | "
            f"without {statistics.median(other):,.0f} | {ratio:.2f} x | >= 0.9 x |"
        )


def waiting(rows: list[str], users: int = IDLE) -> None:
    """Connections that have had one answer each and wait: memory of the whole process."""
    with nginx() as server:
        before = server.requests()
        command = [sys.executable, "-c", WAITING, server.url, str(users)]
        found = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
        same("idle connections: requests, failed", (found["requests"], found["failed"]), (users, 0))
        same("requests that the server counted", server.requests() - before, users + 1)  # and one look
    within("connections that were open together", found["open"], users, users + 1)
    rows.append(
        f"| memory, {users:,} idle connections | {found['memory'] / 1024:.0f} MiB | - | - | <= 200 MB |"
    )


async def own_cost(
    rows: list[str], run: Callable[[int], object], function: Callable[[], object], calls: int = 300_000
) -> None:
    """What a call costs of ours: its time in a run, without that of awaiting the function in a loop."""
    costs = []
    for _ in range(5):
        result = await run(calls)  # type: ignore[misc]
        assert isinstance(result, LoadTestResult)
        began = time.perf_counter()
        for _ in range(calls):
            await function()  # type: ignore[misc]
        costs.append(1 / result.requests_per_second - (time.perf_counter() - began) / calls)
    rows.append(
        f"| of our own, a call of a callable | {statistics.median(costs) * 1e6:.2f} us | - | - | <= 2 us |"
    )
