"""The load tester against wrk, h2load, aiohttp, Locust and a semaphore-and-gather loop, in one run.

    python benchmarks/load.py            prints the table
    python benchmarks/load.py --record   and writes it to benchmarks/RESULTS.md
    python benchmarks/load.py --quick    one short round of what is installed, without a table

What each contender reports is compared with what the server or the called function has counted; a report of
another number of requests ends the run.
nginx, on one core, is the HTTP target. The contenders take turns, round after round, and the table has
the median of their ratios. Peers that are not installed are put into an environment of their own.
"""

from __future__ import annotations

import argparse
import asyncio
import inspect
import itertools
import json
import math
import platform
import random
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import _load_more
import _nginx
from _check import same, within
from _native import build, machine, output_of, program, record
from _nginx import BODY, Server, nginx

from mcp_performance import LoadTester, LoadTestResult, __version__
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
                    if response.status != 200 or await response.read() != b"hello world":
                        raise SystemExit("aiohttp read a wrong answer")
                done += 1
        began = time.perf_counter()
        await asyncio.gather(*[user() for _ in range(users)])
        took = time.perf_counter() - began
    print(done / took, done)
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


def check_report(what: str, result: LoadTestResult, sent: int, seconds: float | None = None) -> None:
    """Every figure of *result* that counts requests, against those that were *sent*; none may have failed.

    Where it ran for *seconds*, what ended after them is no throughput: of each user the request that was
    under way, and on a busy machine one that was begun by a look at the clock shortly before.
    """
    if result.failed:
        raise SystemExit(f"{what}: requests failed: {result.errors}")
    counted = (
        result.total_requests,
        result.successful,
        result.histogram.count,
        result.service_histogram.count,
    )
    same(f"{what}, requests: total, successful, in the histograms", counted, (sent,) * 4)
    late = 0 if seconds is None else 2 * result.concurrent_users
    took = result.elapsed if seconds is None else seconds
    within(
        f"{what}, requests a second by seconds", result.requests_per_second * took, sent - late - 1, sent + 1
    )


# Each returns the requests a second and how many it has counted. All but ours may leave those uncounted that
# were under way at the end, at most one a user.


def ours(url: str, users: int, seconds: float) -> tuple[float, int]:
    result = asyncio.run(LoadTester(url).run_load_test(concurrent_users=users, duration=seconds))
    check_report("ours", result, result.total_requests, seconds)
    _tails.append(("ours", result.p99))
    within("ours, bytes of answers", result.bytes_received, len(BODY) * result.total_requests, math.inf)
    return result.requests_per_second, result.total_requests + result.abandoned


def wrk(url: str, users: int, seconds: float) -> tuple[float, int]:
    command = ["wrk", "-t1", "--latency", f"-c{users}", f"-d{max(1, round(seconds))}", url]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rate, count = re.search(r"Requests/sec:\s+([0-9.]+)", out), re.search(r"(\d+) requests in", out)
    if rate is None or count is None or "Non-2xx" in out or "Socket errors" in out:
        raise SystemExit(f"wrk: {out}")
    tail = re.search(r"99%\s+([0-9.]+)(us|ms|s)", out)
    if tail is None:
        raise SystemExit(f"wrk: {out}")
    _tails.append(("wrk", float(tail[1]) * {"us": 1e-6, "ms": 1e-3, "s": 1.0}[tail[2]]))
    return float(rate[1]), int(count[1])


def aiohttp_client(python: Path, url: str, users: int, seconds: float) -> tuple[float, int]:
    command = [python, "-c", AIOHTTP, url, str(users), str(seconds)]
    rate, count = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.split()
    return float(rate), int(count)


def locust_client(python: Path, url: str, users: int, seconds: float) -> tuple[float, int]:
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
        command += ["-u", str(users), "-r", str(users), "-t", f"{max(2, round(seconds))}s"]
        # Its CSV files are a second old when it ends: they lack what was requested since.
        command += ["--json", "--loglevel", "ERROR"]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=120)
    (total,) = json.loads(done.stdout)
    same("Locust, failures", total["num_failures"], 0)
    took = total["last_request_timestamp"] - total["start_time"]
    return total["num_requests"] / took, total["num_requests"]


Client = Callable[[str, int, float], tuple[float, int]]

# The P99 of each run of those that tell it, seconds.
_tails_of = ("ours", "wrk")
_tails: list[tuple[str, float]] = []


def counted(what: str, server: Server, client: Client, users: int, seconds: float) -> float:
    """Requests a second of *client*, whose count is that of the server."""
    before = server.requests()
    rate, reported = client(server.url, users, seconds)
    seen = server.requests() - before
    uncounted = 0 if what == "ours" else users
    within(f"{what}, {users} users: requests that the server counted", seen, reported, reported + uncounted)
    return rate


def throughput(rows: list[str], seconds: float, rounds: int) -> None:
    """HTTP/1.1, keep-alive, one generator thread."""
    python = peers()
    clients: dict[str, Client] = {
        "ours": ours,
        "wrk": wrk,
        "aiohttp": lambda *of: aiohttp_client(python, *of),
        "Locust FastHttpUser": lambda *of: locust_client(python, *of),
    }
    with nginx() as server:
        for users in (1, 10, 100, 1000):
            figures: dict[str, list[float]] = {name: [] for name in clients}
            _tails.clear()
            for _ in range(rounds):
                for name, client in clients.items():
                    if users in (10, 100) or name in _tails_of:
                        figures[name].append(counted(name, server, client, users, seconds))
            mine = figures.pop("ours")
            tails = [[tail for who, tail in _tails if who == name] for name in _tails_of]
            ratio = statistics.median(b / a for a, b in zip(*tails, strict=True))
            rows.append(
                f"| p99, {users} connections | {statistics.median(tails[0]) * 1e3:.2f} ms | "
                f"wrk {statistics.median(tails[1]) * 1e3:.2f} ms | {ratio:.2f} x | >= 1 x (shorter) |"
            )
            for peer, goal in (("wrk", 1.0), ("aiohttp", 3.5), ("Locust FastHttpUser", 6.0)):
                if not figures[peer]:
                    continue
                ratio = statistics.median(a / b for a, b in zip(mine, figures[peer], strict=True))
                rows.append(
                    f"| requests/s, {users} connections | {statistics.median(mine):,.0f} | "
                    f"{peer} {statistics.median(figures[peer]):,.0f} | {ratio:.2f} x | >= {goal} x |"
                )


@contextmanager
def latency_server(program: Path, delays_ns: list[int]) -> Iterator[tuple[str, list[int]]]:
    """The URL of a process that answers request i after delay i, and after the block what it really took."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "delays"
        file.write_text("\n".join(map(str, delays_ns)))
        server = subprocess.Popen([program, file], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert server.stdout is not None
        took: list[int] = []
        try:
            yield f"http://127.0.0.1:{int(server.stdout.readline())}/", took
            took += [int(line) for line in server.communicate("", timeout=10)[0].split()]
        finally:
            server.kill()
            server.wait()


def latencies(rows: list[str], program: Path, requests: int = _LATENCIES) -> None:
    """Measured percentiles of a server that delays its answers by known times, at a fixed rate.

    The server logs what it really injected into each request that was sent, so that the percentiles of
    exactly those are known. 5 to 15 ms, and 20 to 60 ms for one request in fifty.
    """
    chance = random.Random(1)
    delays = [0.005 + 0.010 * chance.random() ** 3 for _ in range(requests)]
    delays = [delay * (4 if chance.random() < 0.02 else 1) for delay in delays]
    with latency_server(program, [round(delay * 1e9) for delay in delays]) as (url, took):
        tester = LoadTester(url)
        result = asyncio.run(tester.run_load_test(requests, 100, rate=250))
    exact = sorted(ns / 1e9 for ns in took)
    check_report("latencies", result, requests)
    within("latencies, requests that the server answered", len(exact), requests, requests)
    for name, percent in (("p50", 50.0), ("p99", 99.0), ("p99.9", 99.9)):
        injected = exact[math.ceil(len(exact) * percent / 100) - 1]
        measured = result.service_histogram.percentile(percent)
        # Nothing can be faster than the server was; the histogram keeps three digits.
        within(f"measured {name}", measured, injected * 0.999, math.inf)
        off = abs(measured - injected)
        rows.append(
            f"| {name} of injected latencies, 250/s | {measured * 1e3:.3f} ms | "
            f"injected {injected * 1e3:.3f} ms | "
            f"{off / injected:.1%}, {off * 1e6:.0f} us | 2 % or 100 us |"
        )


async def stalled(rows: list[str], seconds: float = 5) -> None:
    """An open model against a target that stands still for 500 ms of 5 s."""
    began = time.perf_counter()
    calls = 0

    async def target() -> None:
        nonlocal calls
        calls += 1
        now = time.perf_counter() - began
        await asyncio.sleep(2.5 - now if 2.0 <= now < 2.5 else 0.001)

    result = await LoadTester(target).run_load_test(duration=seconds, rate=200, concurrent_users=10)
    check_report("stall, open model", result, calls, seconds)
    began, calls = time.perf_counter(), 0
    closed = await LoadTester(target).run_load_test(duration=seconds, concurrent_users=10)
    check_report("stall, closed model", closed, calls, seconds)
    rows.append(
        f"| p99 when the target stalls for 500 ms | {result.p99 * 1e3:.0f} ms | "
        f"closed loop {closed.p99 * 1e3:.0f} ms | {result.p99 / closed.p99:.1f} x | shows the stall |"
    )


async def empty() -> None:
    pass


async def plain_calls(calls: int, users: int) -> float:
    """Calls a second of a semaphore and gather."""
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
    took = time.perf_counter() - began
    within("semaphore and gather, calls", len(times), calls, calls)
    return calls / took


async def run_empty(calls: int) -> LoadTestResult:
    result = await LoadTester(empty).run_load_test(calls, 10)
    check_report("empty calls", result, calls)
    return result


async def check_calls(calls: int) -> None:
    """The timed run again, of a callable that counts: too much beside an empty one."""
    numbers = itertools.count()

    async def numbered() -> None:
        next(numbers)

    result = await LoadTester(numbered).run_load_test(calls, 10)
    check_report("counted calls", result, calls)
    within("counted calls", next(numbers), calls, calls)


async def empty_calls(rows: list[str], rounds: int, calls: int = 1_000_000) -> None:
    """An empty async callable, ten users, the default timeout on."""
    mine, naive = [], []
    for _ in range(rounds):
        mine.append((await run_empty(calls)).requests_per_second)
        naive.append(await plain_calls(calls // 20, 10))
        await check_calls(calls)
    ratio = statistics.median(a / b for a, b in zip(mine, naive, strict=True))
    rows.append(
        f"| empty async callable, calls/s | {statistics.median(mine):,.0f} | "
        f"semaphore and gather {statistics.median(naive):,.0f} | {ratio:.1f} x | >= 40 x |"
    )
    await run_empty(1000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    await run_empty(10 * calls)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    rows.append(f"| memory from 10^3 to 10^7 requests | +{grown / 1024:.1f} MiB | - | - | constant |")


def recording(rows: list[str], program: Path, rounds: int = 3, samples: int = 5_000_000) -> None:
    """One sample into a generator thread's recorder, in the core, which checks what it kept."""
    runs = [output_of(program, str(samples)).split() for _ in range(rounds)]
    closed, open_model = (min(float(run[i]) for run in runs) for i in range(2))
    rows.append(
        f"| recording one sample | {closed:.1f} ns (open model {open_model:.1f} ns) | - | - | <= 20 ns |"
    )
    grown = max(int(run[2]) for run in runs)
    rows.append(f"| memory from 10^3 to {20 * samples:.0e} samples | +{grown} KiB | - | - | constant |")


def scalability(rows: list[str], studies: int = 100) -> None:
    """The fit on a simulated system of known parameters with 5 % noise."""
    true = (1000.0, 0.1, 0.002)
    defaults = inspect.signature(LoadTester.scalability).parameters
    users, rounds = defaults["users"].default, defaults["rounds"].default
    chance = random.Random(2013)
    found = 0
    for _ in range(studies):
        points = []
        for n in users:
            exact = true[0] * n / (1 + true[1] * (n - 1) + true[2] * n * (n - 1))
            points += [(n, exact * (1 + chance.gauss(0, 0.05))) for _ in range(rounds)]
        fit = fit_usl(points)
        pairs = zip((fit.rate, fit.contention, fit.coherency), true, strict=True)
        found += all(abs(value / expected - 1) < 0.1 for value, expected in pairs)
    within("studies whose fit is right", found, 0.9 * studies, studies)
    rows.append(
        f"| USL fit within 10 % at 5 % noise, {len(users)} levels of {rounds} runs | "
        f"{found} of {studies} studies | - | - | >= 95 |"
    )


def version_of(*command: Any) -> str:
    run = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    return (run.stdout + run.stderr).strip().splitlines()[0]


def _has_aiohttp() -> bool:
    python = PEERS / "bin" / "python"
    return (
        python.exists()
        and subprocess.run([python, "-c", "import aiohttp"], capture_output=True).returncode == 0
    )


def quick() -> None:
    """One short round of what is installed."""
    rows: list[str] = []
    if _nginx.program():
        clients: dict[str, Client] = {"ours": ours}
        if shutil.which("wrk"):
            clients["wrk"] = wrk
        if _has_aiohttp():
            clients["aiohttp"] = lambda *of: aiohttp_client(PEERS / "bin" / "python", *of)
        with nginx() as server:
            for name, client in clients.items():
                rows.append(f"{name}: {counted(name, server, client, 10, 0.3):,.0f} requests/s")
    latencies(rows, program("latency_server", quick=True), 200)
    asyncio.run(stalled(rows, 0.5))
    asyncio.run(empty_calls(rows, 1, 20_000))
    recording(rows, program("recorder", quick=True), 1, 100_000)
    scalability(rows, 10)
    print("\n".join(rows))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--record", action="store_true", help="write the table to benchmarks/RESULTS.md")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each HTTP run")
    parser.add_argument("--rounds", type=int, default=3)
    parts: dict[str, Callable[[list[str]], Any]] = {
        "throughput": lambda rows: throughput(rows, options.seconds, options.rounds),
        "latencies": lambda rows: latencies(rows, build("latency_server")),
        "stall": lambda rows: asyncio.run(stalled(rows)),
        "http2": lambda rows: _load_more.http2(rows, options.seconds, options.rounds),
        "state": lambda rows: _load_more.with_a_state(rows, options.seconds, options.rounds),
        "idle": _load_more.waiting,
        "calls": lambda rows: asyncio.run(empty_calls(rows, options.rounds)),
        "own": lambda rows: asyncio.run(_load_more.own_cost(rows, run_empty, empty)),
        "recording": lambda rows: recording(rows, build("recorder")),
        "scalability": scalability,
    }
    parser.add_argument("--only", choices=parts, help="one part of the table, which is not recorded")
    parser.add_argument("--quick", action="store_true", help="one short round of what is installed: no table")
    options = parser.parse_args()
    if options.quick:
        quick()
        return
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
