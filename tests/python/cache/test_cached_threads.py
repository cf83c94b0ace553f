"""Cached functions under threads: one load for all, and nobody waits for ever."""

from __future__ import annotations

import threading

import pytest

from cache_support import run_python
from mcp_performance import cached


class Interrupt(BaseException):
    """What ends a thread from outside, as KeyboardInterrupt does."""


def test_concurrent_misses_run_the_function_once() -> None:
    started = threading.Event()
    go_on = threading.Event()
    calls: list[int] = []

    @cached
    def slow(x: int) -> list[int]:
        calls.append(x)
        started.set()
        assert go_on.wait(30)
        return [x]

    results: list[list[int]] = []
    threads = [threading.Thread(target=lambda: results.append(slow(1))) for _ in range(8)]
    threads[0].start()
    assert started.wait(30)
    for thread in threads[1:]:
        thread.start()
    while slow.cache_info().misses < 8:
        pass
    go_on.set()
    for thread in threads:
        thread.join(30)
    assert calls == [1]
    assert len(results) == 8
    assert all(result is results[0] for result in results)


def test_a_slow_load_blocks_no_other_key() -> None:
    started = threading.Event()
    go_on = threading.Event()

    @cached
    def f(x: int) -> int:
        if x == 1:
            started.set()
            assert go_on.wait(30)
        return x

    thread = threading.Thread(target=f, args=(1,))
    thread.start()
    assert started.wait(30)
    assert f(2) == 2
    go_on.set()
    thread.join(30)


def test_a_failed_load_reaches_everyone_who_waits() -> None:
    started = threading.Event()
    go_on = threading.Event()
    calls: list[int] = []

    @cached
    def fail(x: int) -> int:
        calls.append(x)
        started.set()
        assert go_on.wait(30)
        raise LookupError(x)

    errors: list[BaseException] = []

    def call() -> None:
        try:
            fail(1)
        except LookupError as error:
            errors.append(error)

    threads = [threading.Thread(target=call) for _ in range(4)]
    threads[0].start()
    assert started.wait(30)
    for thread in threads[1:]:
        thread.start()
    while fail.cache_info().misses < 4:
        pass
    go_on.set()
    for thread in threads:
        thread.join(30)
    assert calls == [1]
    assert len(errors) == 4
    assert fail.cache_info().currsize == 0


def test_an_interrupted_leader_hurts_nobody() -> None:
    started = threading.Event()
    go_on = threading.Event()
    calls: list[int] = []

    @cached
    def f(x: int) -> int:
        calls.append(x)
        if len(calls) == 1:
            started.set()
            assert go_on.wait(30)
            raise Interrupt
        return x

    def lead() -> None:
        with pytest.raises(Interrupt):
            f(1)

    results: list[int] = []
    leader = threading.Thread(target=lead)
    follower = threading.Thread(target=lambda: results.append(f(1)))
    leader.start()
    assert started.wait(30)
    follower.start()
    while f.cache_info().misses < 2:
        pass
    go_on.set()
    leader.join(30)
    follower.join(30)
    assert results == [1]
    assert calls == [1, 1]


def test_recursion_computes_inline() -> None:
    @cached
    def fib(n: int) -> int:
        return n if n < 2 else fib(n - 1) + fib(n - 2)

    depth = 0

    @cached
    def same(x: int) -> int:
        nonlocal depth
        depth += 1
        return same(x) + 1 if depth < 3 else 0

    assert fib(80) == 23416728348467685
    assert same(1) == 2
    assert same.cache_contains(1)


def test_loaders_that_need_each_other_both_return() -> None:
    meet = threading.Barrier(2)
    met = threading.local()

    def wait_once() -> None:
        if not getattr(met, "done", False):
            met.done = True
            meet.wait(30)

    @cached
    def a(depth: int) -> str:
        wait_once()
        return "a" if depth_reached() else "a" + b(depth)

    @cached
    def b(depth: int) -> str:
        wait_once()
        return "b" if depth_reached() else "b" + a(depth)

    calls = threading.local()

    def depth_reached() -> bool:
        calls.count = getattr(calls, "count", 0) + 1
        return bool(calls.count > 2)

    results: list[str] = []
    threads = [
        threading.Thread(target=lambda f=f: results.append(f(1)), daemon=True)  # type: ignore[misc]
        for f in (a, b)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    assert len(results) == 2


def test_a_waiting_thread_can_be_interrupted() -> None:
    script = """
import os, signal, threading, time
from mcp_performance import cached
started, never = threading.Event(), threading.Event()

@cached
def slow(x):
    started.set()
    never.wait()

threading.Thread(target=slow, args=(1,), daemon=True).start()
started.wait()
def kill():
    while slow.cache_info().misses < 2:
        pass
    os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=kill, daemon=True).start()
try:
    slow(1)
except KeyboardInterrupt:
    print("interrupted", flush=True)
    os._exit(0)
"""
    assert run_python(script) == "interrupted\n"
