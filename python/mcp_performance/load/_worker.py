"""What a process does that makes a load test together with others: its part, told second by second."""

from __future__ import annotations

import asyncio
import contextlib
import pickle
import signal
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

from .._core import LoadHistogram
from ..errors import LoadTestError
from ._options import RunOptions
from ._supervision import Driven, Ended, NativeRun, Progress, Supervision
from ._targets import Target

__all__ = ["GO", "READY", "STOP", "Failed", "Finished", "Seconds", "be_worker"]

READY, GO, STOP = "ready", "go", "stop"
_EXAMPLE_CHARACTERS = 200


@dataclass(slots=True)
class Seconds:
    """What has been recorded since the last ones: whole seconds, and the errors of all of them."""

    completed: int
    failures: int
    slices: list[tuple[int, int, int, LoadHistogram]]
    errors: dict[str, int]


@dataclass(slots=True)
class Finished:
    """Everything else, at the end."""

    report: dict[str, Any]
    silence: tuple[list[tuple[int, int, int, int]], int, int]
    loop_lag: LoadHistogram | None
    suspensions: int | None
    late: LoadHistogram | None
    late_total: float
    cpu: float
    foreign: bool
    notes: list[str]
    examples: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Failed:
    """The run could not be made."""

    error: BaseException


def be_worker(
    target: Target, options: RunOptions, connection: Connection, others: Sequence[Connection]
) -> None:
    """Make the part of a run that *options* say, in a process that was just forked."""
    # The other processes' ends: their closing is how each learns that the first one is gone.
    for other in others:
        other.close()
    # Ctrl-C reaches all processes of a terminal; the first one decides what it means.
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        asyncio.run(_work(target, options, connection))
    except BaseException as error:
        _send(connection, Failed(_portable(error)))
    finally:
        connection.close()


async def _work(target: Target, options: RunOptions, connection: Connection) -> None:
    supervision = _Reporting(options, connection)
    supervision.listen()
    driven = await supervision.conduct(target.drive(options, supervision))
    run = supervision.run
    if run is None or driven is None:
        raise LoadTestError("the run never began")
    supervision.send_seconds()
    _send(connection, _finished(driven, run))


class _Reporting(Supervision):
    """Begins when the first process says so, and tells it each second's figures."""

    def __init__(self, options: RunOptions, connection: Connection) -> None:
        super().__init__(options, progress=self._tell)
        self.run: Any = None
        self._connection = connection
        self._go = asyncio.Event()

    def listen(self) -> None:
        """Hear what the first process says, on a thread: it may be silent for long."""
        threading.Thread(target=self._hear, name="mcp-load-orders", daemon=True).start()

    def _hear(self) -> None:
        with contextlib.suppress(OSError, EOFError, RuntimeError):
            while self._connection.recv() == GO:
                self._loop.call_soon_threadsafe(self._go.set)
        self.end()  # it said to stop, or is gone

    async def ready(self) -> None:
        _send(self._connection, READY)
        await self._go.wait()

    async def __call__(
        self,
        run: NativeRun,
        work: Awaitable[None],
        stop: Callable[[], None],
        cut_off: Callable[[], None] | None,
    ) -> Ended:
        self.run = run
        return await super().__call__(run, work, stop, cut_off)

    def _tell(self, _: Progress) -> None:
        self.send_seconds()

    def send_seconds(self) -> None:
        """What is new."""
        slices, errors = self.run.take()
        _send(self._connection, Seconds(self.run.completed, self.run.failures, slices, errors))


def _finished(driven: Driven, run: Any) -> Finished:
    report = dict(driven.report)
    for name in ("response", "series", "gaps"):  # slices and silence have them
        del report[name]
    return Finished(
        report=report,
        silence=run.silence(),
        loop_lag=driven.loop_lag,
        suspensions=driven.suspensions,
        late=driven.late,
        late_total=driven.late_total,
        cpu=driven.cpu,
        foreign=driven.foreign,
        notes=driven.notes,
        examples={
            kind: (str(error) or repr(error))[:_EXAMPLE_CHARACTERS]
            for kind, error in driven.exceptions.items()
        },
    )


def _portable(error: BaseException) -> BaseException:
    """*error*, if it can be sent, or one that says the same."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return LoadTestError(repr(error))
    return error if isinstance(error, Exception) else LoadTestError(repr(error))


def _send(connection: Connection, message: Any) -> None:
    """Send, or not: where the first process is gone, this one will be told to end."""
    with contextlib.suppress(OSError):
        connection.send(message)
