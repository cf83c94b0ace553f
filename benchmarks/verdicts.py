"""Whether load tests are called valid where they are, and invalid where their generator was starved.

    python benchmarks/verdicts.py                 prints the table
    python benchmarks/verdicts.py --record        and writes it to benchmarks/RESULTS.md
    python benchmarks/verdicts.py --quick         one healthy run, without a table
    python benchmarks/verdicts.py --realtime      healthy runs before everything else that runs on the machine

Healthy are the README's commands, a function, and an MCP tool, each run again and again. Starved are the same
runs with a tenth of a core: by a CPU quota, or by the priority on a core that something else keeps busy.
A machine that others use starves healthy runs too, and the verdict says so: the table has the load average
beside each row. Needs root, for quotas and --realtime, and uvicorn.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from _native import ROOT, machine, record

RUNS = 20
_QUOTA, _PERIOD = 10_000, 100_000
_URL = "URL"

MODULE = """
import asyncio, hashlib
from types import SimpleNamespace
from mcp_performance import McpTool

async def waits():
    await asyncio.sleep(0.002)

def computes():
    hashlib.pbkdf2_hmac("sha256", b"word", b"salt", 1000)

class Session:
    async def call_tool(self, name, arguments):
        await asyncio.sleep(0.001)
        return SimpleNamespace(isError=False, content=[])

tool = McpTool(Session(), "orders", {"number": 7})
"""

# What each run is, and with which arguments it is run starved: for as long as it takes to be so.
HEALTHY = {
    "the sample service": ["-n", "20000", "-c", "10", "--warmup", "0.5"],
    "a URL": [_URL, "-n", "1000", "-c", "10"],
    "an ASGI app": ["shop:app", "--path", "/orders/7", "--duration", "1s"],
    "an async function": ["targets:waits", "--duration", "1s"],
    "a function": ["targets:computes", "-c", "2", "--duration", "1s"],
    "an MCP tool": ["targets:tool", "--duration", "1s"],
}
STARVED = {
    "the sample service": ["--duration", "1s", "-c", "10"],
    "a URL": [_URL, "--duration", "1s", "-c", "10"],
    "an ASGI app": ["shop:app", "--path", "/orders/7", "--duration", "1s"],
    # Ten users of these would be content with a tenth of a core.
    "an async function": ["targets:waits", "--duration", "1s", "-c", "100"],
    "an MCP tool": ["targets:tool", "--duration", "1s", "-c", "100"],
}


def _remove(folder: Path) -> None:
    """A group is busy for a moment after its last process has ended."""
    for _ in range(100):
        with contextlib.suppress(OSError):
            return folder.rmdir()
        time.sleep(0.1)
    raise SystemExit(f"{folder} cannot be removed")


@contextlib.contextmanager
def quota() -> Iterator[Path]:
    """A control group of a tenth of a core, of either version; what is written to ends in it."""
    for parent, name, limit in (
        (Path("/sys/fs/cgroup/cpu"), "cpu.cfs_quota_us", str(_QUOTA)),
        (Path("/sys/fs/cgroup"), "cpu.max", f"{_QUOTA} {_PERIOD}"),
    ):
        folder = parent / f"mcp-verdicts-{os.getpid()}"
        with contextlib.suppress(OSError):
            folder.mkdir()
            try:
                (folder / name).write_text(limit)
                yield folder / "cgroup.procs"
                return
            finally:
                _remove(folder)
    raise SystemExit("no control group can be made here: a CPU quota needs root")


@contextlib.contextmanager
def spinning(core: int) -> Iterator[None]:
    """A process that keeps *core* busy."""
    code = f"import os\nos.sched_setaffinity(0, {{{core}}})\nprint(flush=True)\nwhile 1: pass"
    busy = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    try:
        assert busy.stdout is not None
        busy.stdout.readline()
        yield
    finally:
        busy.kill()
        busy.wait()


@contextlib.contextmanager
def shop(folder: Path) -> Iterator[str]:
    """The README's app under uvicorn."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "uvicorn", "shop:app", "--port", str(port), "--log-level", "warning"]
    server = subprocess.Popen(command, cwd=folder)
    try:
        for _ in range(600):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/orders/7"
    finally:
        server.terminate()
        server.wait()


def child(case: str, how: str, place: str, runs: int, url: str) -> None:
    """Make *runs* runs in this process, starved from here on, and print each verdict."""
    from mcp_performance.cli import main

    cases = HEALTHY if how == "healthy" else STARVED
    arguments = [url if word == _URL else word for word in cases[case]]
    main(["load", *arguments, "--duration", "0.1", "--json"])  # what is loaded the first time
    if how == "quota":
        Path(place).write_text(str(os.getpid()))
    elif how == "core":
        os.sched_setaffinity(0, {int(place)})
        os.nice(10)  # a tenth of the weight of what keeps it busy
    for _ in range(runs):
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            main(["load", *arguments, "--json"])
        found = json.loads(out.getvalue())
        said = {name: found[name] for name in ("verdict", "reason")}
        print(json.dumps({**said, "load": os.getloadavg()[0]}), flush=True)


def runs_of(case: str, how: str, place: object, folder: Path, url: str, options: Any) -> list[dict[str, Any]]:
    realtime = options.realtime and how == "healthy"

    def before() -> None:
        if realtime:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))

    command = [sys.executable, __file__, "--child", case, how, str(place), str(options.runs), url]
    out = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, text=True, preexec_fn=before).stdout
    found = [json.loads(line) for line in out.splitlines() if line.startswith('{"verdict"')]
    if len(found) != options.runs:
        raise SystemExit(f"{case}, {how}: {len(found)} of {options.runs} runs")
    return found


def row(case: str, how: str, found: list[dict[str, Any]], wanted: str) -> str:
    words = Counter(one["verdict"] for one in found)
    right = words["ok"] if wanted == "valid" else len(found) - words["ok"]
    shown = ", ".join(f"{word} {count}" for word, count in words.most_common())
    load = sum(one["load"] for one in found) / len(found)
    for reason in sorted({one["reason"] for one in found if (one["verdict"] == "ok") != (wanted == "valid")}):
        print(f"  {case}, {how}: {reason}", file=sys.stderr)
    line = f"| {case} | {how} | {wanted} | {right} of {len(found)} | {shown} | {load:.1f} |"
    print(line, file=sys.stderr, flush=True)
    return line


def campaign(options: Any) -> list[str]:
    rows = []
    core = max(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
        (folder / "shop.py").write_text(next(block for block in blocks if "/orders/" in block))
        (folder / "targets.py").write_text(MODULE)
        if options.realtime:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        with shop(folder) as url:
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
            for case in HEALTHY:
                if options.only in (None, "healthy"):
                    rows.append(
                        row(case, "healthy", runs_of(case, "healthy", "", folder, url, options), "valid")
                    )
            for case in STARVED:
                if options.only in (None, "quota"):
                    with quota() as place:
                        found = runs_of(case, "quota", place, folder, url, options)
                    rows.append(row(case, "a quota of a tenth of a core", found, "invalid"))
                if options.only in (None, "core"):
                    with spinning(core):
                        found = runs_of(case, "core", core, folder, url, options)
                    rows.append(row(case, "a tenth of a busy core", found, "invalid"))
    return rows


def quick(options: Any) -> None:
    """One run, of what needs nothing that may be missing."""
    options.runs = 1
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "targets.py").write_text(MODULE)
        case = "an async function"
        print(row(case, "healthy", runs_of(case, "healthy", "", Path(name), "", options), "valid"))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--record", action="store_true", help="write the table to benchmarks/RESULTS.md")
    parser.add_argument("--quick", action="store_true", help="one healthy run: no table")
    parser.add_argument("--realtime", action="store_true", help="real-time priority for healthy runs")
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--only", choices=("healthy", "quota", "core"))
    parser.add_argument("--child", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        case, how, place, runs, url = options.child
        child(case, how, place, int(runs), url)
        return
    if options.quick:
        quick(options)
        return
    rows = campaign(options)
    how = "; healthy ones at real-time priority: others used the machine" if options.realtime else ""
    table = "\n".join(
        [
            "## Verdicts of load tests",
            "",
            f"{machine()}; {options.runs} runs in a row each{how}.",
            "",
            "| what | how | expected | right | verdicts | load average |",
            "|---|---|---|---|---|---|",
            *rows,
        ]
    )
    print(table)
    if options.record:
        record("verdicts", table)


if __name__ == "__main__":
    main()
