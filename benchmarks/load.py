"""The load tester against wrk, aiohttp, Locust's FastHttpUser and a semaphore-and-gather loop, in one run.

    python benchmarks/load.py            prints the table
    python benchmarks/load.py --record   and writes it to benchmarks/RESULTS.md

nginx, on one core, is the HTTP target. The contenders take turns, round after round, and the table has
the median of their ratios. Peers that are not installed are put into an environment of their own.
"""

from __future__ import annotations

import argparse
import asyncio
import inspect
import math
import platform
import random
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from _native import build, machine, record
from _nginx import nginx

from mcp_performance import LoadTester, __version__
from mcp_performance.load._usl import fit_usl

HERE = Path(__file__).resolve().parent
PEERS = HERE.parent / ".cache" / "bench-venv"
_LATENCIES = 8000

AIOHTTP = """
import asyncio, sys, time, aiohttp
async def main(url, users, seconds):
    done = 0
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        end = time.perf_counter() + seconds
        async def user():
            nonlocal done
            while time.perf_counter() < end:
                async with session.get(url) as response:
                    await response.read()
                done += 1
        began = time.perf_counter()
        await asyncio.gather(*[user() for _ in range(users)])
    print(done / (time.perf_counter() - began))
asyncio.run(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
"""

LOCUST = """
from locust import task
from locust.contrib.fasthttp import FastHttpUser
class Visitor(FastHttpUser):
    @task
    def get(self):
        self.client.get("/")
"""


def peers() -> Path:
    """The Python of an environment with aiohttp and Locust."""
    python = PEERS / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(PEERS)], check=True)
    found = subprocess.run([python, "-c", "import aiohttp, locust"], capture_output=True)
    if found.returncode:
        print("installing aiohttp and locust for the comparison", file=sys.stderr)
        subprocess.run([python, "-m", "pip", "install", "-q", "aiohttp", "locust"], check=True)
    return python


def ours(url: str, users: int, seconds: float) -> float:
    result = asyncio.run(LoadTester(url).run_load_test(concurrent_users=users, duration=seconds))
    if result.failed:
        raise SystemExit(f"requests failed: {result.errors}")
    return result.requests_per_second


def wrk(url: str, users: int, seconds: float) -> float:
    command = ["wrk", "-t1", f"-c{users}", f"-d{max(1, round(seconds))}", url]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"Requests/sec:\s+([0-9.]+)", out)
    return float(found[1]) if found else 0.0


def aiohttp_client(python: Path, url: str, users: int, seconds: float) -> float:
    command = [python, "-c", AIOHTTP, url, str(users), str(seconds)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def locust_client(python: Path, url: str, users: int, seconds: float) -> float:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "locustfile.py").write_text(LOCUST)
        command = [
            python,
            "-m",
            "locust",
            "--headless",
            "-f",
            f"{folder}/locustfile.py",
            "-H",
            url.rstrip("/"),
        ]
        command += ["-u", str(users), "-r", str(users), "-t", f"{max(2, round(seconds))}s", "--only-summary"]
        subprocess.run([*command, "--csv", f"{folder}/out"], capture_output=True, text=True, timeout=120)
        header, *rows = (Path(folder) / "out_stats.csv").read_text().splitlines()
        column = header.split(",").index("Requests/s")
        return float(rows[-1].split(",")[column])


def throughput(rows: list[str], seconds: float, rounds: int) -> None:
    """HTTP/1.1, keep-alive, one generator thread."""
    python = peers()
    with nginx() as url:
        for users in (10, 100):
            figures: dict[str, list[float]] = {
                "ours": [],
                "wrk": [],
                "aiohttp": [],
                "Locust FastHttpUser": [],
            }
            for _ in range(rounds):
                figures["ours"].append(ours(url, users, seconds))
                figures["wrk"].append(wrk(url, users, seconds))
                figures["aiohttp"].append(aiohttp_client(python, url, users, seconds))
                figures["Locust FastHttpUser"].append(locust_client(python, url, users, seconds))
            mine = figures.pop("ours")
            for peer, goal in (("wrk", 0.95), ("aiohttp", 3.5), ("Locust FastHttpUser", 6.0)):
                ratio = statistics.median(a / b for a, b in zip(mine, figures[peer], strict=True))
                rows.append(
                    f"| requests/s, {users} connections | {statistics.median(mine):,.0f} | "
                    f"{peer} {statistics.median(figures[peer]):,.0f} | {ratio:.2f} x | >= {goal} x |"
                )


@contextmanager
def latency_server(delays_ns: list[int]) -> Iterator[tuple[str, list[int]]]:
    """The URL of a process that answers request i after delay i, and after the block what it really took."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "delays"
        file.write_text("\n".join(map(str, delays_ns)))
        server = subprocess.Popen(
            [build("latency_server"), file], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert server.stdout is not None
        took: list[int] = []
        try:
            yield f"http://127.0.0.1:{int(server.stdout.readline())}/", took
            took += [int(line) for line in server.communicate("", timeout=10)[0].split()]
        finally:
            server.kill()
            server.wait()


def latencies(rows: list[str]) -> None:
    """Measured percentiles of a server that delays its answers by known times, at a fixed rate.

    The server logs what it really injected into each request that was sent, so that the percentiles of
    exactly those are known. 5 to 15 ms, and 20 to 60 ms for one request in fifty.
    """
    chance = random.Random(1)
    delays = [0.005 + 0.010 * chance.random() ** 3 for _ in range(_LATENCIES)]
    delays = [delay * (4 if chance.random() < 0.02 else 1) for delay in delays]
    with latency_server([round(delay * 1e9) for delay in delays]) as (url, took):
        tester = LoadTester(url)
        result = asyncio.run(tester.run_load_test(_LATENCIES, 100, rate=250))
    exact = sorted(ns / 1e9 for ns in took)
    if result.failed or len(exact) != result.total_requests:
        raise SystemExit(f"{len(exact)} requests were answered of {result.total_requests}: {result.errors}")
    for name, percent in (("p50", 50.0), ("p99", 99.0), ("p99.9", 99.9)):
        injected = exact[math.ceil(len(exact) * percent / 100) - 1]
        measured = result.service_histogram.percentile(percent)
        off = abs(measured - injected)
        rows.append(
            f"| {name} of injected latencies, 250/s | {measured * 1e3:.3f} ms | "
            f"injected {injected * 1e3:.3f} ms | "
            f"{off / injected:.1%}, {off * 1e6:.0f} us | 2 % or 100 us |"
        )


async def stalled(rows: list[str]) -> None:
    """An open model against a target that stands still for 500 ms of 5 s."""
    began = time.perf_counter()

    async def target() -> None:
        now = time.perf_counter() - began
        await asyncio.sleep(2.5 - now if 2.0 <= now < 2.5 else 0.001)

    result = await LoadTester(target).run_load_test(duration=5, rate=200, concurrent_users=10)
    began = time.perf_counter()
    closed = await LoadTester(target).run_load_test(duration=5, concurrent_users=10)
    rows.append(
        f"| p99 when the target stalls for 500 ms | {result.p99 * 1e3:.0f} ms | "
        f"closed loop {closed.p99 * 1e3:.0f} ms | {result.p99 / closed.p99:.1f} x | shows the stall |"
    )


async def empty_calls(rows: list[str], rounds: int) -> None:
    """An empty async callable, ten users, the default timeout on."""

    async def empty() -> None:
        pass

    async def plain(calls: int, users: int) -> float:
        gate = asyncio.Semaphore(users)
        times: list[float] = []

        async def one() -> None:
            async with gate:
                began = time.perf_counter()
                async with asyncio.timeout(30):
                    await empty()
                times.append(time.perf_counter() - began)

        began = time.perf_counter()
        await asyncio.gather(*[one() for _ in range(calls)])
        return calls / (time.perf_counter() - began)

    mine, naive = [], []
    for _ in range(rounds):
        mine.append((await LoadTester(empty).run_load_test(1_000_000, 10)).requests_per_second)
        naive.append(await plain(50_000, 10))
    ratio = statistics.median(a / b for a, b in zip(mine, naive, strict=True))
    rows.append(
        f"| empty async callable, calls/s | {statistics.median(mine):,.0f} | "
        f"semaphore and gather {statistics.median(naive):,.0f} | {ratio:.1f} x | >= 10 x |"
    )
    await LoadTester(empty).run_load_test(1000, 10)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    await LoadTester(empty).run_load_test(10_000_000, 10)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    rows.append(f"| memory from 10^3 to 10^7 requests | +{grown / 1024:.1f} MiB | - | - | constant |")


def recording(rows: list[str]) -> None:
    """One sample into a generator thread's recorder, in the core."""
    runs = [subprocess.run([build("recorder")], capture_output=True, text=True, check=True) for _ in range(3)]
    closed, open_model = (min(float(run.stdout.split()[i]) for run in runs) for i in range(2))
    rows.append(
        f"| recording one sample | {closed:.1f} ns (open model {open_model:.1f} ns) | - | - | <= 20 ns |"
    )


def scalability(rows: list[str]) -> None:
    """The fit on a simulated system of known parameters with 5 % noise."""
    true = (1000.0, 0.1, 0.002)
    defaults = inspect.signature(LoadTester.scalability).parameters
    users, rounds = defaults["users"].default, defaults["rounds"].default
    chance = random.Random(2013)
    found = 0
    for _ in range(100):
        points = []
        for n in users:
            exact = true[0] * n / (1 + true[1] * (n - 1) + true[2] * n * (n - 1))
            points += [(n, exact * (1 + chance.gauss(0, 0.05))) for _ in range(rounds)]
        fit = fit_usl(points)
        pairs = zip((fit.rate, fit.contention, fit.coherency), true, strict=True)
        found += all(abs(value / expected - 1) < 0.1 for value, expected in pairs)
    rows.append(
        f"| USL fit within 10 % at 5 % noise, {len(users)} levels of {rounds} runs | "
        f"{found} of 100 studies | - | - | >= 95 |"
    )


def version_of(*command: Any) -> str:
    run = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    return (run.stdout + run.stderr).strip().splitlines()[0]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--record", action="store_true", help="write the table to benchmarks/RESULTS.md")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each HTTP run")
    parser.add_argument("--rounds", type=int, default=3)
    parts: dict[str, Callable[[list[str]], Any]] = {
        "throughput": lambda rows: throughput(rows, options.seconds, options.rounds),
        "latencies": latencies,
        "stall": lambda rows: asyncio.run(stalled(rows)),
        "calls": lambda rows: asyncio.run(empty_calls(rows, options.rounds)),
        "recording": recording,
        "scalability": scalability,
    }
    parser.add_argument("--only", choices=parts, help="one part of the table, which is not recorded")
    options = parser.parse_args()
    if options.only and options.record:
        parser.error("--record needs the whole table")
    rows: list[str] = []
    for name, part in parts.items():
        if options.only in (None, name):
            part(rows)
    names = ("aiohttp", "locust")
    listed = subprocess.run(
        [peers(), "-m", "pip", "freeze"], capture_output=True, text=True
    ).stdout.splitlines()
    tools = ", ".join(line for line in listed if line.split("==")[0] in names)
    table = "\n".join(
        [
            "## Load tester",
            "",
            f"{machine()}, Python {platform.python_version()}, mcp-performance {__version__}, "
            f"{version_of('nginx', '-v')}, {version_of('wrk', '-v').split(' Copyright')[0]}, {tools}; "
            f"medians of {options.rounds} rounds in turns.",
            "",
            "| what | here | peer | ratio | reach |",
            "|---|---|---|---|---|",
            *rows,
        ]
    )
    print(table)
    if options.record:
        record("load", table)


if __name__ == "__main__":
    main()
