"""Running a native load test run from asyncio: its lanes, and how late the generator is."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from .._core import CallRun, HttpRun, LoadHistogram
from ._bottleneck import Witness
from ._lanes import TaskLanes, ThreadLanes
from ._options import RunOptions
from ._supervision import Driven, Supervision

__all__ = ["drive_http", "drive_tasks", "drive_threads", "has_busy_threads", "take_lag"]

# What a generator thread may take to end once it has no more to do.
_LAST_WORDS = 0.2
_LAG_INTERVAL = 0.005
# Timers of an event loop are rounded up to this.
_TIMER_GRAIN = 0.001
# Other threads that use this much of a core before a run do so without being asked by the target.
_BUSY_SHARE = 0.3
_REST = 0.02


async def drive_http(run: HttpRun, supervisor: Supervision) -> Driven:
    """Run the native engine on a thread of its own, without the interpreter lock."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def settle(error: BaseException | None) -> None:
        if not done.done():
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(error)

    def work() -> None:
        error: BaseException | None = None
        try:
            run.run()
        except BaseException as caught:
            error = caught
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, error)

    thread = threading.Thread(target=work, name="mcp-load")
    thread.start()
    try:
        ended = await supervisor(run, done, run.stop, None)
    finally:
        thread.join(_LAST_WORDS)  # it has said its last word, or was told to stop
    report = run.report()
    late = report["late"]
    return supervisor.made(Driven(report, ended, None, None, {}, late=late, late_total=late.total))


async def has_busy_threads() -> bool:
    """Whether other threads of this process compute while nothing is being tested."""
    cpu, own, began = time.process_time(), time.thread_time(), time.monotonic()
    await asyncio.sleep(_REST)
    spent = time.process_time() - cpu - (time.thread_time() - own)
    return spent > _BUSY_SHARE * (time.monotonic() - began)


class _LagSampler:
    """How late the event loop is, and how much of that is not the target's own work.

    ``histogram`` is how long the loop takes to come round to what is ready: measured with a callback
    that is ready at once, because timers of an event loop are rounded to a millisecond, which is not
    lateness. ``late`` is the part of that, and of a timer's lateness, in which nothing of this process
    computed: a loop that is late because it, or a thread of the target, computes is what the target is
    like. Where another thread was busy before the run (*foreign*), its work does not excuse either.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, *, foreign: bool, threads: bool) -> None:
        self._loop = loop
        self._foreign = foreign
        self._clock = time.thread_time if foreign else time.process_time
        self._whose = resource.RUSAGE_SELF if threads else resource.RUSAGE_THREAD
        self._handle: asyncio.Handle | None = None
        self.histogram = LoadHistogram()
        self.late = LoadHistogram()
        self.late_total = 0.0
        self._worst = 0.0
        self._due = self._cpu = self._timer_late = 0.0
        self._preemptions = 0
        self.cpu = 0.0

    def take_worst(self) -> float:
        """The longest since the last call."""
        worst, self._worst = self._worst, 0.0
        return worst

    def __enter__(self) -> _LagSampler:
        self.cpu = -time.process_time()
        self._plan()
        return self

    def _plan(self) -> None:
        self._due = self._loop.time() + _LAG_INTERVAL
        self._cpu = self._clock()
        self._preemptions = resource.getrusage(self._whose).ru_nivcsw
        self._handle = self._loop.call_at(self._due, self._ask)

    def _overdue(self, now: float, cpu: float) -> float:
        """What the timer was late by without any work to show for it."""
        late = now - self._due - _TIMER_GRAIN
        if late <= 0:
            return 0.0
        worked = cpu - self._cpu
        if self._foreign or resource.getrusage(self._whose).ru_nivcsw > self._preemptions:
            return max(0.0, min(late, late + _LAG_INTERVAL - worked))
        return max(0.0, late - worked)

    def _ask(self) -> None:
        now, cpu = self._loop.time(), self._clock()
        self._timer_late = self._overdue(now, cpu)
        self._cpu = cpu
        self._handle = self._loop.call_soon(self._answer, now)

    def _answer(self, asked: float) -> None:
        lag = self._loop.time() - asked
        self.histogram.record(lag)
        self._worst = max(self._worst, lag)
        self._add(max(0.0, lag - (self._clock() - self._cpu)) + self._timer_late)
        self._plan()

    def _add(self, late: float) -> None:
        self.late.record(late)
        self.late_total += late

    def __exit__(self, *_: object) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self.cpu += time.process_time()
        # A loop that was held to the end never came to say so.
        overdue = self._overdue(self._loop.time(), self._clock())
        if overdue > _LAG_INTERVAL:
            self._add(overdue)


def take_lag(loop: asyncio.AbstractEventLoop) -> _LagSampler:
    """Measures *loop* where all its work is the generator's, for a target that is elsewhere."""
    return _LagSampler(loop, foreign=False, threads=False)


class _Deadlines:
    """Cancels what runs out of time, with one timer for the run: a timeout costs a request nothing."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, run: CallRun, timeout: float, expired: Callable[[int], None]
    ) -> None:
        self._loop = loop
        self._run = run
        self._timeout = timeout
        self._expired = expired
        self._handle: asyncio.TimerHandle | None = None

    def __enter__(self) -> _Deadlines:
        self._handle = self._loop.call_later(self._timeout, self._look)
        return self

    def _look(self) -> None:
        lanes, next_in = self._run.expire()
        for lane in lanes:
            self._expired(lane)
        wait = self._timeout if next_in is None else next_in
        self._handle = self._loop.call_later(max(wait, 1e-4), self._look)

    def __exit__(self, *_: object) -> None:
        if self._handle is not None:
            self._handle.cancel()


async def drive_tasks(
    run: CallRun,
    function: Callable[..., Any] | Sequence[Callable[..., Any]],
    options: RunOptions,
    supervisor: Supervision,
    *,
    with_number: bool,
    foreign: bool = False,
) -> Driven:
    """Await *function*, or that of each lane, from one task a lane, all on the running loop."""
    loop = asyncio.get_running_loop()
    lanes = TaskLanes(run, function, with_number=with_number)
    timer = run.timer_fd()
    loop.add_reader(timer, run.wake_due)
    try:
        with (
            _LagSampler(loop, foreign=foreign, threads=False) as lag,
            Witness(loop, lag.take_worst) as witness,
            _Deadlines(loop, run, options.timeout, lanes.expired),
        ):
            ended = await supervisor(run, lanes.work(), lanes.stop, lanes.cut_off)
    finally:
        if not loop.is_closed():
            loop.remove_reader(timer)
        lanes.cancel()
    run.finish()
    driven = Driven(
        run.report(),
        ended,
        lag.histogram,
        run.suspensions,
        lanes.examples,
        witness,
        lag.late,
        lag.late_total,
        lag.cpu,
    )
    return supervisor.made(driven)


async def drive_threads(
    run: CallRun,
    function: Callable[..., Any],
    options: RunOptions,
    supervisor: Supervision,
    *,
    foreign: bool = False,
) -> Driven:
    """Call *function* from one thread a lane.

    A call cannot be interrupted: one that runs out of time is recorded as a timeout there and then,
    its thread is left to itself, and another takes its place.
    """
    loop = asyncio.get_running_loop()
    lanes = ThreadLanes(run, function)
    with (
        _LagSampler(loop, foreign=foreign, threads=True) as lag,
        Witness(loop, lag.take_worst) as witness,
        _Deadlines(loop, run, options.timeout, lanes.expired),
    ):
        ended = await supervisor(run, lanes.work(), lanes.stop, lanes.cut_off)
    run.finish()
    driven = Driven(
        run.report(),
        ended,
        lag.histogram,
        None,
        lanes.examples,
        witness,
        lag.late,
        lag.late_total,
        lag.cpu,
        foreign,
    )
    return supervisor.made(driven)
