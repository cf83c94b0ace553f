"""Where the system refuses a thread or a descriptor: the error that it is, and use as before afterwards."""

import subprocess
import sys

import pytest

# What begins a thread of its own, by the name of the case.
BEGINNINGS = {
    "pool": "SQLitePool(':memory:').blocking.fetchval('SELECT 1')",
    "idempotency": "idempotent(key='a', store=IdempotencyStore(folder + '/keys.db'))(lambda: 1)()",
    "history": "start_history()",
    "aiosqlite": "asyncio.run(connect())",
}

SCRIPT = """
import asyncio, logging, sys, tempfile, threading
from mcp_performance import IdempotencyStore, PerformanceMonitor, SQLitePool, aiosqlite, idempotent

logging.basicConfig(level=logging.ERROR)
monitor = PerformanceMonitor()

def start_history():
    monitor.sampler.stop()
    monitor.sampler.start()
    return 1

async def connect():
    async with aiosqlite.connect(":memory:") as db:
        return (await db.execute_fetchall("SELECT 1"))[0][0]

def begin(folder):
    return {beginning}

with tempfile.TemporaryDirectory() as folder:
    # A stack larger than any address space fails as reaching the limit of threads does, and for root as well.
    threading.stack_size(1 << 46)
    try:
        begin(folder)
    except RuntimeError as error:
        print(str(error))
    threading.stack_size(0)
    print(begin(folder))
"""


@pytest.mark.parametrize("case", BEGINNINGS)
def test_a_thread_that_was_refused_is_asked_for_again(case):
    script = SCRIPT.replace("{beginning}", BEGINNINGS[case])
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert run.stderr == ""
    assert run.stdout == "can't start new thread\n1\n"


def test_without_descriptors_a_call_is_an_os_error():
    script = """
import asyncio, errno, resource, time
from mcp_performance import BatchProcessor, SQLitePool

async def main():
    pool, processor = SQLitePool(":memory:", inline_budget=0), BatchProcessor(2)
    calls = [lambda: pool.fetchval("SELECT count(*) FROM json_each('[1]')"), lambda: processor.map(wait, [1])]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        errors = await asyncio.gather(*(call() for call in calls), return_exceptions=True)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    for error in errors:
        assert type(error) is OSError and error.errno == errno.EMFILE, error
    assert await calls[0]() == 1
    assert (await calls[1]()).results == [1]

def wait(number):
    time.sleep(0.01)
    return number

asyncio.run(main())
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert (run.returncode, run.stderr) == (0, "")
