"""Threads of the library are named and get no signals; processes that user code starts on them do."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Literal

import pytest

from mcp_performance import BatchProcessor, SQLitePool

ENDLESS = "import time\nprint('up', flush=True)\ntime.sleep(1000)"


def _threads() -> dict[str, list[int]]:
    """The masks of blocked signals of this process's threads, by name."""
    found: dict[str, list[int]] = {}
    for task in os.listdir("/proc/self/task"):
        try:
            fields = dict(
                line.split(":\t", 1)
                for line in Path(f"/proc/self/task/{task}/status").read_text().splitlines()
            )
        except FileNotFoundError:
            continue  # it has ended
        found.setdefault(fields["Name"], []).append(int(fields["SigBlk"], 16))
    return found


def _terminates(_: object) -> int:
    process = subprocess.Popen([sys.executable, "-c", ENDLESS], stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process, process.stdout:
        process.stdout.readline()
        process.terminate()
        return process.wait(timeout=60)


def _blocked(signals: int) -> bool:
    return all(signals >> (number - 1) & 1 for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD))


@pytest.mark.parametrize("kind", ["blocking", "cpu"])
async def test_a_process_that_an_item_starts_can_be_terminated(kind: Literal["blocking", "cpu"]) -> None:
    async with BatchProcessor() as batch:
        outcome = await batch.map(_terminates, range(4), kind=kind)
    outcome.raise_errors()
    assert outcome.results == [-signal.SIGTERM] * 4


async def test_a_process_that_a_function_of_sqlite_starts_can_be_terminated(tmp_path: Path) -> None:
    with_function = SQLitePool(
        tmp_path / "a.db",
        inline_budget=0,
        init=lambda connection: connection.create_function("ends", 1, _terminates),
    )
    async with with_function as pool:
        assert await pool.fetchval("SELECT ends(1)") == -signal.SIGTERM


async def test_threads_have_names_and_get_no_signals(tmp_path: Path) -> None:
    async with SQLitePool(tmp_path / "a.db", inline_budget=0) as pool, BatchProcessor() as batch:
        await pool.execute("CREATE TABLE t (x)")
        await pool.fetch("SELECT x FROM t")
        await batch.map(lambda _: time.sleep(0.001), range(50), kind="blocking")
        threads = _threads()
        for name in ("mcp-sqlite", "mcp-sqlite-time", "mcp-batch"):
            assert name in threads
        for name, masks in threads.items():
            if name.startswith("mcp-"):
                assert all(map(_blocked, masks)), name
