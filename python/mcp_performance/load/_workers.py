"""One load test by several processes of this machine.

Each is forked from this one when the run begins, makes its part of it, and sends what it has recorded: whole
seconds as they end, and the rest when it has finished. What is added up are histograms and counts, so the
result is that of one generator, and is judged as one. A process that is killed has told the seconds before.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import signal
import threading
import warnings
from multiprocessing.connection import Connection
from typing import Any

from .._core import LoadHistogram, LoadTotals
from ..errors import LoadTestError
from ._options import RunOptions
from ._supervision import Driven, Ended, Supervision
from ._targets import Target
from ._worker import GO, READY, STOP, Failed, Finished, Seconds, be_worker

__all__ = ["drive_workers"]

# Until a process that was told to end is ended, beyond its drain time where it may have to wait for that.
_GRACE = 0.6
_JOIN = 0.2


async def drive_workers(
    target: Target, options: RunOptions, supervision: Supervision, workers: int
) -> Driven:
    """Drive *target* from so many processes, but not from more than there are users, or requests."""
    count = min(workers, options.users, options.requests or workers)
    if count == 1:
        return await target.drive(options, supervision)
    crew = _Crew(target, options, count)
    try:
        crew.fork()
        await crew.all_ready()
        await supervision.ready()
        ended = await supervision(crew, crew.work(), crew.stop, crew.cut_off)
    finally:
        crew.close()
    return crew.driven(ended)


class _Worker:
    """One process, as the first one sees it."""

    def __init__(self, number: int, process: Any, connection: Connection) -> None:
        self.number = number
        self.process = process
        self.connection = connection
        self.completed = 0
        self.failures = 0
        self.seconds = 0
        self.successful = 0
        self.errors: dict[str, int] = {}
        self.is_ready = False
        self.finished: Finished | None = None
        self.lost: str | None = None

    @property
    def is_over(self) -> bool:
        return self.finished is not None or self.lost is not None

    def fate(self) -> str:
        """How a process ended that did not say so, if it has."""
        self.process.join(_JOIN)
        code = self.process.exitcode
        if code is None:
            return "did not end in time"
        if code < 0:
            return f"was killed by {signal.Signals(-code).name}"
        return f"ended with status {code}"


class _Crew:
    """The processes of a run; to whoever watches it, the run."""

    def __init__(self, target: Target, options: RunOptions, count: int) -> None:
        self._target = target
        self._options = options
        self._count = count
        self._loop = asyncio.get_running_loop()
        self._workers: list[_Worker] = []
        self._changed = asyncio.Event()
        self._error: BaseException | None = None
        self._totals = LoadTotals(
            workers=count, highest=min(options.timeout, 1e9), open_model=options.open_model
        )

    # Processes

    def fork(self) -> None:
        """Start them. They begin when :meth:`work` says so."""
        context = multiprocessing.get_context("fork")
        ours: list[Connection] = []
        for number in range(self._count):
            here: Any
            there: Any
            here, there = context.Pipe()
            ours.append(here)
            part = self._options.part(number, self._count)
            process = context.Process(
                target=be_worker, args=(self._target, part, there, list(ours)), name=f"mcp-load-{number}"
            )
            with warnings.catch_warnings():  # that threads of this process are not in the other: none is used
                warnings.simplefilter("ignore", DeprecationWarning)
                process.start()
            there.close()
            worker = _Worker(number, process, here)
            self._workers.append(worker)
        for worker in self._workers:
            threading.Thread(target=self._hear, args=(worker,), name="mcp-load-worker", daemon=True).start()

    def _hear(self, worker: _Worker) -> None:
        """On a thread: a process may be frozen in the midst of a message."""
        with contextlib.suppress(OSError, EOFError):
            while True:
                message = worker.connection.recv()
                with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                    self._loop.call_soon_threadsafe(self._take, worker, message)
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._gone, worker)

    def _take(self, worker: _Worker, message: Any) -> None:
        if worker.lost is not None:
            return
        if isinstance(message, Seconds):
            worker.completed, worker.failures = message.completed, message.failures
            worker.errors = message.errors
            for successful, failed, size, response in message.slices:
                self._totals.pour(worker.number, worker.seconds, successful, failed, size, response)
                worker.seconds += 1
                worker.successful += successful
        elif isinstance(message, Finished):
            worker.finished = message
            message.report["examples"] = {**message.examples, **message.report["examples"]}
            self._totals.finish(worker.number, message.report, *message.silence)
        elif isinstance(message, Failed):
            self._error = self._error or message.error
        elif message == READY:
            worker.is_ready = True
        self._changed.set()

    def _gone(self, worker: _Worker) -> None:
        if worker.is_over:
            return
        worker.lost = (
            f"worker {worker.number + 1} of {self._count} {worker.fate()}: what it did after its "
            f"first {worker.seconds} s is missing, and its part of the figures of single requests"
        )
        self._totals.lose(worker.number, float(worker.seconds), worker.successful, worker.errors)
        self._changed.set()

    async def _until(self, condition: Any) -> None:
        while not condition():
            if self._error is not None:
                raise self._error
            self._changed.clear()
            await self._changed.wait()
        if self._error is not None:
            raise self._error

    async def all_ready(self) -> None:
        """Until every user is set up."""
        await self._until(lambda: all(worker.is_ready or worker.is_over for worker in self._workers))
        for worker in self._workers:
            if worker.lost is not None:
                raise LoadTestError(f"worker {worker.number + 1} of {self._count} {worker.fate()}")

    def _tell(self, word: str) -> None:
        for worker in self._workers:
            with contextlib.suppress(OSError):
                worker.connection.send(word)

    def _kill(self) -> None:
        for worker in self._workers:
            self._gone(worker)  # while it is there: its end is not its own doing
            if worker.lost is not None:
                worker.process.kill()

    def close(self) -> None:
        """End what is left of them."""
        for worker in self._workers:
            if not worker.is_over:
                worker.process.kill()
        for worker in self._workers:
            worker.process.join(_JOIN)
            if worker.process.exitcode is None:  # it has said all that it had to say
                worker.process.kill()
                worker.process.join()
            worker.connection.close()

    # The run

    @property
    def completed(self) -> int:
        return sum(worker.completed for worker in self._workers)

    @property
    def failures(self) -> int:
        return sum(worker.failures for worker in self._workers)

    def report(self) -> dict[str, Any]:
        """The run so far, in whole seconds."""
        return self._totals.report()

    async def work(self) -> None:
        """To the end of all of them."""
        self._tell(GO)
        await self._until(lambda: all(worker.is_over for worker in self._workers))

    def stop(self) -> None:
        self._tell(STOP)
        self._loop.call_later(self._options.drain + _GRACE, self._kill)

    def cut_off(self) -> None:
        """They cut themselves off; who does not say so in time is ended."""
        self._loop.call_later(_GRACE, self._kill)

    def driven(self, ended: Ended) -> Driven:
        """All of it, as of one generator."""
        done = [worker.finished for worker in self._workers if worker.finished is not None]
        report = self._totals.report()
        report["kinds"] = [kind for one in done for kind in one.report["kinds"]]
        if any("kind_tags" in one.report for one in done):
            report["kind_tags"] = [tags for one in done for tags in one.report["kind_tags"]]
        suspensions = [one.suspensions for one in done if one.suspensions is not None]
        ended.lost = [worker.lost for worker in self._workers if worker.lost is not None]
        return Driven(
            report,
            ended,
            _merged(one.loop_lag for one in done),
            sum(suspensions) if suspensions else None,
            {},
            None,
            _merged(one.late for one in done),
            max((one.late_total for one in done), default=0.0),
            max((one.cpu for one in done), default=0.0),
            any(one.foreign for one in done),
            self._count,
            [note for one in done for note in one.notes],
        )


def _merged(histograms: Any) -> LoadHistogram | None:
    found = [histogram for histogram in histograms if histogram is not None]
    if not found:
        return None
    first: LoadHistogram = found[0].copy()
    for other in found[1:]:
        first.merge(other)
    return first
