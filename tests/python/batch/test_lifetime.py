"""Batches across forks, at interpreter exit, and what they say about the interpreter lock."""

import hashlib
import subprocess
import sys
import warnings

import pytest

from mcp_performance import BatchProcessor, GilBoundWarning
from mcp_performance.batch._gil import ThreadUse, is_gil_bound, warn_if_gil_bound


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=110)


FORK = """
import asyncio, os, sys
from mcp_performance import BatchProcessor

batch = BatchProcessor(4)

def answers(kind):
    async def main():
        return (await batch.map(lambda item: item + 1, range(3000), kind=kind, chunk_size=10)).results
    return asyncio.run(main()) == list(range(1, 3001))

def everything():
    return all(answers(kind) for kind in (None, "cpu", "blocking"))

assert everything()
for _ in range(3):
    child = os.fork()
    if child == 0:
        os._exit(0 if everything() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert everything()
print("done")
"""


def test_parent_and_child_of_a_fork_both_work() -> None:
    run = run_python(FORK)
    assert (run.stdout, run.returncode) == ("done\n", 0), run.stderr


BUSY_FORK = """
import asyncio, os, threading
from mcp_performance import BatchProcessor

release, inside = threading.Event(), threading.Event()

def wait(item):
    inside.set()
    release.wait()
    return item

async def child_main():
    async with BatchProcessor(2) as batch:
        for kind in (None, "cpu", "blocking"):
            assert (await batch.map(lambda item: -item, range(500), kind=kind)).succeeded == 500

async def main(kind):
    async with BatchProcessor(2) as batch:
        running = asyncio.ensure_future(batch.map(wait, range(4), kind=kind))
        await asyncio.to_thread(inside.wait)
        child = os.fork()
        if child == 0:
            asyncio._set_running_loop(None)
            asyncio.run(child_main())
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        release.set()
        assert (await running).succeeded == 4

for kind in ("blocking", "cpu"):
    release.clear(); inside.clear()
    asyncio.run(main(kind))
print("done")
"""


def test_a_fork_while_batches_run_leaves_both_processes_working() -> None:
    run = run_python(BUSY_FORK)
    assert (run.stdout, run.returncode) == ("done\n", 0), run.stderr


FORKS_UNDER_LOAD = """
import asyncio, hashlib, os, signal, threading
from mcp_performance import BatchProcessor

DATA = bytes(20_000)
RIGHT = [(number, hashlib.sha256(DATA).digest()) for number in range(60)]
KINDS = ("cpu", None, "blocking")

def work(item):
    return item, hashlib.sha256(DATA).digest()

async def maps(batch):
    for kind in KINDS:
        assert (await batch.map(work, range(60), kind=kind, chunk_size=5)).results == RIGHT

def spin():  # takes the processors away
    child = os.fork()
    while child == 0:
        pass
    return child

stop, wrong = threading.Event(), []
batch = BatchProcessor(4)

def go_on():
    while not stop.is_set():
        try:
            asyncio.run(maps(batch))
        except BaseException as error:
            wrong.append(error)

spinning = [spin() for _ in range(4)]
try:
    for busy in (True, False):
        threads = [threading.Thread(target=go_on) for _ in range(2 if busy else 0)]
        for thread in threads:
            thread.start()
        for number in range(50):
            if not busy and number % 5 == 0:
                asyncio.run(maps(batch))  # TBB's threads are there, and idle
            child = os.fork()
            if child == 0:
                asyncio.run(maps(batch))
                os._exit(0)
            signal.alarm(50)
            status = os.waitpid(child, 0)[1]
            signal.alarm(0)
            assert status == 0, status
        stop.set()
        for thread in threads:
            thread.join()
finally:
    stop.set()
    for child in spinning:
        os.kill(child, signal.SIGKILL)
assert not wrong, wrong
asyncio.run(maps(batch))
print("done")
"""


def test_a_hundred_forks_on_a_busy_machine_leave_both_processes_right() -> None:
    run = run_python(FORKS_UNDER_LOAD)
    assert (run.stdout, run.returncode) == ("done\n", 0), run.stderr


FORK_AMONG_NEW_THREADS = """
import asyncio, os, signal, threading
from mcp_performance import BatchProcessor

stop = threading.Event()

def start_threads():  # native ones, which meet the interpreter for the first time all the while
    async def main():
        while not stop.is_set():
            async with BatchProcessor(8) as batch:
                await batch.map(abs, range(8), kind="blocking", chunk_size=1)
    asyncio.run(main())

busy = [threading.Thread(target=start_threads) for _ in range(3)]
for thread in busy:
    thread.start()
try:
    for number in range(ROUNDS):
        child = os.fork()
        if child == 0:
            os._exit(0)
        signal.alarm(30)  # a child that hangs hangs before it can run anything
        status = os.waitpid(child, 0)[1]
        signal.alarm(0)
        assert status == 0
finally:
    stop.set()
    for thread in busy:
        thread.join()
print("done")
"""


def test_a_child_is_never_born_with_the_list_of_threads_locked() -> None:
    # CPython 3.11 takes that lock in the child before it makes it anew.
    run = run_python(FORK_AMONG_NEW_THREADS.replace("ROUNDS", "1500"))
    assert (run.stdout, run.returncode) == ("done\n", 0), run.stderr


EXIT = """
import asyncio, sys, threading
from mcp_performance import BatchProcessor

inside = threading.Event()

def block(item):
    inside.set()
    threading.Event().wait()  # for ever

async def main():
    batch = BatchProcessor(2)
    running = asyncio.ensure_future(batch.map(block, range(10), kind={kind!r}))
    await asyncio.to_thread(inside.wait)

asyncio.run(main())
sys.exit(7)
"""


@pytest.mark.parametrize("kind", ["cpu", "blocking", None])
def test_exit_with_busy_threads_keeps_its_code_and_does_not_wait(kind: str | None) -> None:
    run = run_python(EXIT.format(kind=kind))
    assert (run.returncode, run.stderr) == (7, "")


COMES_BACK = """
import asyncio, threading, time
from mcp_performance import BatchProcessor

inside = threading.Event()

def spin(item):
    inside.set()
    while True:
        time.sleep(0)  # asks for the interpreter lock all the time, while the interpreter goes down

async def main():
    running = asyncio.ensure_future(BatchProcessor(4).map(spin, range(10), kind="blocking"))
    await asyncio.to_thread(inside.wait)

asyncio.run(main())
"""


def test_threads_that_come_back_to_a_dying_interpreter_do_no_harm() -> None:
    for _ in range(3):
        run = run_python(COMES_BACK)
        assert (run.returncode, run.stderr) == (0, "")


def test_an_import_starts_no_thread() -> None:
    run = run_python(
        "import os, mcp_performance as m; m.BatchProcessor(); print(len(os.listdir('/proc/self/task')))"
    )
    assert run.stdout == "1\n"


TURNS = ThreadUse(workers=2, chunks=1000, cpu_seconds=1.0, wait_seconds=0.9)


def test_threads_that_take_turns_are_noticed() -> None:
    assert is_gil_bound(TURNS, 1.0)


@pytest.mark.parametrize(
    ("use", "elapsed"),
    [
        (ThreadUse(workers=1, chunks=1000, cpu_seconds=1.0, wait_seconds=0.9), 1.0),  # one thread
        (ThreadUse(workers=2, chunks=1000, cpu_seconds=1.9, wait_seconds=0.9), 1.0),  # two cores busy
        (ThreadUse(workers=2, chunks=1000, cpu_seconds=1.0, wait_seconds=0.01), 1.0),  # a busy machine
        (ThreadUse(workers=2, chunks=1000, cpu_seconds=0.1, wait_seconds=0.9), 1.0),  # a starved process
        (ThreadUse(workers=2, chunks=100, cpu_seconds=0.1, wait_seconds=0.09), 0.1),  # too short to matter
        (ThreadUse(workers=2, chunks=0, cpu_seconds=0.0, wait_seconds=0.0), 1.0),  # nothing was run
    ],
)
def test_other_threads_are_not(use: ThreadUse, elapsed: float) -> None:
    assert not is_gil_bound(use, elapsed)


def test_long_items_are_noticed_by_the_switch_interval() -> None:
    assert is_gil_bound(ThreadUse(workers=2, chunks=10, cpu_seconds=1.0, wait_seconds=0.05), 1.0)


def test_the_warning_comes_once_a_function_with_its_evidence() -> None:
    def slow(item: int) -> int:
        return item

    with pytest.warns(GilBoundWarning, match=r"slow computes .* 1\.00 cores busy and waited 0\.90 s"):
        warn_if_gil_bound(slow, TURNS, 1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_if_gil_bound(slow, TURNS, 1.0)
        warn_if_gil_bound(lambda item: item, TURNS, 0.1)


async def test_functions_that_release_the_lock_are_not_warned_about() -> None:
    """One that holds the lock is warned about each time; a machine that stands still may fake it once."""
    data = bytes(1 << 20)

    async def warned() -> bool:
        with warnings.catch_warnings(record=True) as given:
            warnings.simplefilter("always", GilBoundWarning)
            async with BatchProcessor() as batch:
                result = await batch.map(lambda _: hashlib.sha256(data).digest(), range(400), kind="cpu")
        assert result.failed == 0
        return any(one.category is GilBoundWarning for one in given)

    assert not all([await warned() for _ in range(5)])
