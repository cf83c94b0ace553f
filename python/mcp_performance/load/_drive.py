"""Running a native load test run from asyncio: lanes, clocks, progress, and stopping early."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import signal
import threading
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Any, Protocol

from .._core import CallLane, CallRun, HttpRun, LoadHistogram
from ._bottleneck import Witness
from ._options import RunOptions

__all__ = [
    "Driven",
    "Progress",
    "ProgressCallback",
    "drive_http",
    "drive_tasks",
    "drive_threads",
    "supervise",
]

_LAG_INTERVAL = 0.005
_MOST_REPLACED_THREADS = 1000


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run has come. ``fraction`` is None where the end is not known beforehand."""

    completed: int
    failed: int
    elapsed: float
    fraction: float | None
    requests_per_second: float


ProgressCallback = Callable[[Progress], Awaitable[None] | None]


class NativeRun(Protocol):
    """What :class:`HttpRun` and :class:`CallRun` have in common."""

    @property
    def completed(self) -> int: ...
    @property
    def failures(self) -> int: ...
    def stop(self) -> None: ...
    def report(self) -> dict[str, Any]: ...


@dataclass(slots=True)
class Driven:
    """A run that has ended."""

    report: dict[str, Any]
    interrupted: bool
    loop_lag: LoadHistogram | None
    suspensions: int | None  # None: does not apply
    exceptions: dict[str, BaseException]
    witness: Witness | None = None


# What stops a run when the interpreter goes down while one is under way. threading waits for its
# threads before atexit handlers run, so this has to come first.
_running: set[NativeRun] = set()


def _stop_all() -> None:
    for run in list(_running):
        run.stop()


_register_atexit = getattr(threading, "_register_atexit", None)
if _register_atexit is not None:
    _register_atexit(_stop_all)


@contextlib.contextmanager
def _tracked(run: NativeRun) -> Iterator[None]:
    _running.add(run)
    try:
        yield
    finally:
        run.stop()
        _running.discard(run)


class _Interrupt:
    """The first Ctrl-C ends the run and keeps its results; a second one is the usual interrupt."""

    def __init__(self, loop: asyncio.AbstractEventLoop, stop: Callable[[], None]) -> None:
        self._loop = loop
        self._stop = stop
        self._before: Any = None
        self._installed = False
        self.hit = False

    def __enter__(self) -> _Interrupt:
        if threading.current_thread() is threading.main_thread():
            before = signal.getsignal(signal.SIGINT)
            if before is not None and before is not signal.SIG_IGN:
                self._before = before
                signal.signal(signal.SIGINT, self._handle)
                self._installed = True
        return self

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.hit = True
        self._restore()
        self._loop.call_soon_threadsafe(self._stop)

    def _restore(self) -> None:
        if self._installed:
            self._installed = False
            signal.signal(signal.SIGINT, self._before)

    def __exit__(self, *_: object) -> None:
        self._restore()


async def supervise(
    run: NativeRun,
    work: Awaitable[None],
    stop: Callable[[], None],
    options: RunOptions,
    *,
    progress: ProgressCallback | None,
    watch: Callable[[dict[str, Any]], bool] | None,
    interval: float,
) -> bool:
    """Await *work*, report progress, and stop when *watch* says so. True if Ctrl-C ended it."""
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    began = loop.time()
    before, before_at = 0, began
    with _tracked(run), _Interrupt(loop, stop) as interrupt:
        try:
            while not task.done():
                await asyncio.wait({task}, timeout=interval if progress or watch else None)
                now = loop.time()
                if progress is not None:
                    rate = (run.completed - before) / max(now - before_at, 1e-9)
                    before, before_at = run.completed, now
                    answer = progress(_progress(run, options, now - began, rate))
                    if inspect.isawaitable(answer):
                        await answer
                if watch is not None and not task.done() and watch(run.report()):
                    stop()
        except GeneratorExit:  # the loop was closed under us: nothing can be awaited any more
            stop()
            raise
        except BaseException:
            stop()
            # The generator ends at once; what it still has to say is of no interest.
            with contextlib.suppress(BaseException):
                await asyncio.shield(task)
            raise
        await task
    return interrupt.hit


def _progress(run: NativeRun, options: RunOptions, elapsed: float, rate: float) -> Progress:
    parts = []
    if options.requests is not None:
        parts.append(run.completed / options.requests)
    seconds = options.duration
    if seconds is None and options.stages is not None:
        seconds = sum(piece for piece, _ in options.stages)
    if seconds is not None:
        parts.append(elapsed / (seconds + options.warmup))
    return Progress(run.completed, run.failures, elapsed, min(1.0, max(parts)) if parts else None, rate)


Supervisor = Callable[[NativeRun, Awaitable[None], Callable[[], None]], Awaitable[bool]]


async def drive_http(run: HttpRun, supervisor: Supervisor) -> Driven:
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

    threading.Thread(target=work, name="mcp-load").start()
    interrupted = await supervisor(run, done, run.stop)
    return Driven(run.report(), interrupted, None, None, {})


class _LagSampler:
    """How long the event loop takes to come round to what is ready.

    Measured with a callback that is ready at once, because timers of an event loop are rounded to a
    millisecond, which is not lateness.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._handle: asyncio.Handle | None = None
        self.histogram = LoadHistogram()
        self._worst = 0.0

    def take_worst(self) -> float:
        """The longest since the last call."""
        worst, self._worst = self._worst, 0.0
        return worst

    def __enter__(self) -> _LagSampler:
        self._handle = self._loop.call_later(_LAG_INTERVAL, self._ask)
        return self

    def _ask(self) -> None:
        self._handle = self._loop.call_soon(self._answer, self._loop.time())

    def _answer(self, asked: float) -> None:
        lag = self._loop.time() - asked
        self.histogram.record(lag)
        self._worst = max(self._worst, lag)
        self._handle = self._loop.call_later(_LAG_INTERVAL, self._ask)

    def __exit__(self, *_: object) -> None:
        if self._handle is not None:
            self._handle.cancel()


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
    function: Callable[..., Any],
    options: RunOptions,
    supervisor: Supervisor,
    *,
    with_number: bool,
) -> Driven:
    """Await *function* from one task a lane, all on the running loop."""
    loop = asyncio.get_running_loop()
    examples: dict[str, BaseException] = {}
    lanes = [
        CallLane(run, number, function, examples, loop.create_future, with_number)
        for number in range(run.lanes)
    ]

    async def carry(lane: CallLane) -> None:
        lane.task = asyncio.current_task()
        try:
            await lane
        finally:
            lane.task = None

    tasks: list[asyncio.Task[None]] = []

    async def all_lanes() -> None:
        tasks.extend(loop.create_task(carry(lane)) for lane in lanes)
        done, _ = await asyncio.wait(tasks)
        for task in done:
            if not task.cancelled() and (error := task.exception()) is not None:
                raise error

    def stop() -> None:
        run.stop()
        for task in tasks:
            task.cancel()

    timer = run.timer_fd()
    loop.add_reader(timer, run.wake_due)
    try:
        with (
            _LagSampler(loop) as lag,
            Witness(loop, lag.take_worst) as witness,
            _Deadlines(loop, run, options.timeout, lambda lane: _cancel(tasks[lane])),
        ):
            interrupted = await supervisor(run, all_lanes(), stop)
    finally:
        if not loop.is_closed():
            loop.remove_reader(timer)
        for task in tasks:
            task.cancel()
    run.finish()
    return Driven(run.report(), interrupted, lag.histogram, run.suspensions, examples, witness)


def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()


async def drive_threads(
    run: CallRun, function: Callable[..., Any], options: RunOptions, supervisor: Supervisor
) -> Driven:
    """Call *function* from one thread a lane.

    A call cannot be interrupted: one that runs out of time is recorded as a timeout there and then,
    its thread is left to itself, and another takes its place.
    """
    loop = asyncio.get_running_loop()
    examples: dict[str, BaseException] = {}
    done: asyncio.Future[None] = loop.create_future()
    alive: dict[int, CallLane] = {}
    replaced = 0

    def over(number: int, lane: CallLane, error: BaseException | None) -> None:
        if alive.get(number) is not lane:
            return
        del alive[number]
        if error is not None and not done.done():
            done.set_exception(error)
        if not alive and not done.done():
            done.set_result(None)

    def work(number: int, lane: CallLane) -> None:
        error: BaseException | None = None
        try:
            lane.run_thread()
        except BaseException as caught:
            error = caught
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(over, number, lane, error)

    def start(number: int) -> None:
        lane = CallLane(run, number, function, examples, None, False)
        alive[number] = lane
        # A daemon: a call that never returns must not keep the process from ending.
        threading.Thread(target=work, args=(number, lane), name=f"mcp-load-{number}", daemon=True).start()

    def expired(number: int) -> None:
        nonlocal replaced
        lane = alive[number]
        if replaced < _MOST_REPLACED_THREADS:
            replaced += 1
            start(number)
        else:
            over(number, lane, None)

    def stop() -> None:
        run.stop()
        if not done.done():
            done.set_result(None)

    for number in range(run.lanes):
        start(number)
    deadlines = _Deadlines(loop, run, options.timeout, expired)
    with _LagSampler(loop) as lag, Witness(loop, lag.take_worst) as witness, deadlines:
        interrupted = await supervisor(run, done, stop)
    run.finish()
    return Driven(run.report(), interrupted, lag.histogram, None, examples, witness)
