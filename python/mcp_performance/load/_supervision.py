"""Watching over a run from before it begins until what comes after it is over."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import inspect
import os
import signal
import threading
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, Protocol

from .._core import CallRun, LoadHistogram
from ._bottleneck import Witness
from ._cgroup import throttled_seconds
from ._options import RunOptions

__all__ = ["Driven", "Ended", "NativeRun", "Progress", "ProgressCallback", "Supervision", "nothing_driven"]

# Between two looks at a run that somebody watches.
_INTERVAL = 0.25


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
class Ended:
    """How a run came to its end."""

    interrupted: bool = False
    aborted: bool = False
    cut_off: bool = False
    throttled: float = 0.0
    lost: list[str] = field(default_factory=list)
    """Of a run of several processes: what became of those that did not come to its end."""


@dataclass(slots=True)
class Driven:
    """A run that has ended."""

    report: dict[str, Any]
    ended: Ended
    loop_lag: LoadHistogram | None
    suspensions: int | None  # None: does not apply
    exceptions: dict[str, BaseException]
    witness: Witness | None = None
    late: LoadHistogram | None = None
    late_total: float = 0.0
    cpu: float = 0.0
    foreign: bool = False
    workers: int = 1
    notes: list[str] = field(default_factory=list)


# What stops a run when the interpreter goes down while one is under way. threading waits for its
# threads before atexit handlers run, so this has to come first.
_running: set[NativeRun] = set()


def _stop_all() -> None:
    for run in list(_running):
        run.stop()


_register_atexit = getattr(threading, "_register_atexit", None)
if _register_atexit is not None:
    _register_atexit(_stop_all)
# The runs of the parent end there: a lock of theirs may be held by a thread that a child does not have.
os.register_at_fork(after_in_child=_running.clear)


@contextlib.contextmanager
def _tracked(run: NativeRun) -> Iterator[None]:
    _running.add(run)
    try:
        yield
    finally:
        run.stop()
        _running.discard(run)


def nothing_driven(options: RunOptions) -> Driven:
    """A run that was ended before it began."""
    run = CallRun(**options.native(), kinds=["none"], first_byte=False, threaded=False)
    run.finish()
    return Driven({**run.report(), "kinds": []}, Ended(interrupted=True), None, None, {})


class _Phase(enum.Enum):
    BEFORE = enum.auto()
    DURING = enum.auto()
    AFTER = enum.auto()


class _Interrupt:
    """The first Ctrl-C calls *end*; a second one is the usual interrupt, if :meth:`again` was not called."""

    def __init__(self, end: Callable[[], None]) -> None:
        self._end = end
        self._before: Any = None
        self._installed = self._active = False

    def __enter__(self) -> _Interrupt:
        self._active = True
        self._install()
        return self

    def _install(self) -> None:
        if threading.current_thread() is threading.main_thread():
            before = signal.getsignal(signal.SIGINT)
            if before is not None and before is not signal.SIG_IGN:
                self._before = before
                signal.signal(signal.SIGINT, self._handle)
                self._installed = True

    def again(self) -> None:
        """The next one calls *end* once more."""
        if self._active and not self._installed:
            self._install()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._restore()
        self._end()

    def _restore(self) -> None:
        if self._installed:
            self._installed = False
            signal.signal(signal.SIGINT, self._before)

    def __exit__(self, *_: object) -> None:
        self._active = False
        self._restore()


class Supervision:
    """Watches over a run: reports progress, and ends it when *watch*, somebody or its time says so.

    A run has a time before it (set-up, sessions, an app's startup) and one after it. Who asks for the end
    before it gets a run of nothing; after it, the run without what would still have come.
    """

    def __init__(
        self,
        options: RunOptions | None = None,
        *,
        progress: ProgressCallback | None = None,
        watch: Callable[[dict[str, Any]], bool] | None = None,
    ) -> None:
        self._options = options
        self._progress = progress
        self._watch = watch
        self._loop = asyncio.get_running_loop()
        self._interrupt = _Interrupt(self.end)
        self._whole: asyncio.Task[Any] | None = None
        self._phase = _Phase.BEFORE
        self._stop: Callable[[], None] | None = None
        self._stopped = self._cut = False
        self._driven: Driven | None = None

    async def conduct(self, drive: Awaitable[Driven]) -> Driven | None:
        """Await *drive*, with what comes before and after the run; None if it was ended before the run began.

        Ctrl-C ends it, as :meth:`end` does; a second one during the run is the usual interrupt.
        """
        self._whole = asyncio.current_task()
        try:
            with self._interrupt:
                driven = await drive
        except asyncio.CancelledError:
            whole = self._whole
            if not self._cut or whole is None or whole.uncancel():
                raise
            if self._driven is not None:
                self._driven.notes.append("what comes after the run was interrupted")
            return self._driven
        finally:
            self._whole = None
        return driven

    def made(self, driven: Driven) -> Driven:
        """The run is over, and this is what it was, whatever becomes of what comes after it."""
        self._driven = driven
        return driven

    def end(self) -> None:
        """End the run, from any thread or a signal handler."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: the run has ended
            self._loop.call_soon_threadsafe(self._end)

    def _end(self) -> None:
        if self._phase is _Phase.DURING:
            self._stopped = True
            if self._stop is not None:
                self._stop()
        elif self._whole is not None and not self._cut:
            self._cut = True
            self._whole.cancel()

    async def ready(self) -> None:
        """Everything is there: the run begins when this returns."""

    async def __call__(
        self,
        run: NativeRun,
        work: Awaitable[None],
        stop: Callable[[], None],
        cut_off: Callable[[], None] | None,
    ) -> Ended:
        """Await *work*.

        *cut_off* ends a run that is not over when its planned end and the drain time have passed; None where
        the run does so itself.
        """
        task = asyncio.ensure_future(work)
        loop = asyncio.get_running_loop()
        ended = Ended()
        throttled = throttled_seconds()
        cut = self._plan_cut(loop, ended, cut_off)
        self._stop, self._phase = stop, _Phase.DURING
        with _tracked(run):
            try:
                await self._look_on(run, task, stop, ended)
            except GeneratorExit:  # the loop was closed under us: nothing can be awaited any more
                stop()
                raise
            except BaseException:
                stop()
                # The generator ends at once; what it still has to say is of no interest.
                with contextlib.suppress(BaseException):
                    await asyncio.shield(task)
                raise
            finally:
                if cut is not None:
                    cut.cancel()
            await task
        self._phase = _Phase.AFTER
        self._interrupt.again()
        ended.interrupted = self._stopped
        ended.throttled = throttled_seconds() - throttled
        return ended

    def _plan_cut(
        self, loop: asyncio.AbstractEventLoop, ended: Ended, cut_off: Callable[[], None] | None
    ) -> asyncio.TimerHandle | None:
        options = self._options
        if cut_off is None or options is None or options.planned is None:
            return None

        def over() -> None:
            ended.cut_off = True
            cut_off()

        return loop.call_later(options.warmup + options.planned + options.drain, over)

    async def _look_on(
        self, run: NativeRun, task: asyncio.Future[None], stop: Callable[[], None], ended: Ended
    ) -> None:
        loop = asyncio.get_running_loop()
        began = before_at = loop.time()
        before = 0
        looks = self._progress is not None or self._watch is not None
        while not task.done():
            await asyncio.wait({task}, timeout=_INTERVAL if looks else None)
            now = loop.time()
            if self._progress is not None and self._options is not None:
                rate = (run.completed - before) / max(now - before_at, 1e-9)
                before, before_at = run.completed, now
                answer = self._progress(_progress(run, self._options, now - began, rate))
                if inspect.isawaitable(answer):
                    await answer
            watch = self._watch
            if watch is not None and not task.done() and not ended.aborted and watch(run.report()):
                ended.aborted = True
                stop()


def _progress(run: NativeRun, options: RunOptions, elapsed: float, rate: float) -> Progress:
    parts = []
    if options.requests is not None:
        parts.append(run.completed / options.requests)
    if options.planned is not None:
        parts.append(elapsed / (options.planned + options.warmup))
    return Progress(run.completed, run.failures, elapsed, min(1.0, max(parts)) if parts else None, rate)
