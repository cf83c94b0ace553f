"""Running virtual users that are Python functions: their turns, their samples, and how they end."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from .._core import CallRun
from ..errors import HttpError, HttpTimeout, LoadTestError
from ._bottleneck import Witness
from ._drive import take_lag
from ._options import RunOptions
from ._supervision import Driven, Supervision
from ._user import Send, User
from ._wire import UserReply, Wire

__all__ = ["MOST_KINDS", "UserFunction", "drive_users"]

UserFunction = Callable[[User], Awaitable[Any]]

MOST_KINDS = 64
_OTHERS = "other requests"
_UNANSWERED = "no answer by the end of the run"
# Before a user that got nowhere begins anew.
_BACKOFF = 0.005
# What a cancelled user may take to end.
_GRACE = 0.5
_EXAMPLE_CHARACTERS = 200


class _RunIsOver(asyncio.CancelledError):
    """Ends a user that asks for another turn."""


class _Under:
    """A request under way."""

    __slots__ = ("intended", "kind", "sent")

    def __init__(self, intended: float, sent: float, kind: int) -> None:
        self.intended = intended
        self.sent = sent
        self.kind = kind


class _UserRun:
    """Gives users their turns and records what became of them."""

    def __init__(self, run: CallRun, options: RunOptions, function: UserFunction, name: str) -> None:
        self._run = run
        self._options = options
        self._function = function
        self._name = name
        self._loop = asyncio.get_running_loop()
        self._waiting: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = 0
        self._given = 0
        self._under: dict[int, _Under] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._told: dict[int, BaseException] = {}  # what a request of a user has raised and is recorded
        self.kinds: dict[tuple[str, tuple[str, ...]], int] = {}
        self.examples: dict[str, BaseException] = {}
        self.texts: dict[str, str] = {}
        self.over = False
        self._ending = False  # everybody has been cancelled

    def _lane(self, user: User) -> int:
        """Users are numbered over all processes of a run, lanes within one."""
        return user.number // self._options.shares

    # Turns

    def wake(self) -> None:
        """Some have waited long enough."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._run.timer_fd(), 8)
        now = time.monotonic()
        while self._waiting and self._waiting[0][0] <= now:
            waiter = heapq.heappop(self._waiting)[2]
            if not waiter.done():
                waiter.set_result(None)
        if self._waiting:
            self._run.wake_at(self._waiting[0][0])

    async def _sleep_until(self, at: float) -> None:
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._order += 1
        heapq.heappush(self._waiting, (at, self._order, waiter))
        if self._waiting[0][2] is waiter:
            self._run.wake_at(at)
        await waiter

    async def _turn(self, lane: int) -> float:
        """Wait until *lane* may send; when that was due."""
        while not self.over:
            what, at, counts = self._run.next_turn(lane)
            if what == "start":
                self._given += counts
                if self._given == self._options.requests:
                    self.end_idle()
                return at
            if what == "done":
                break
            await self._sleep_until(at)
        raise _RunIsOver

    def end_idle(self) -> None:
        """Nobody starts anything more: who has nothing under way is done, whatever it waits for."""
        self.over = True
        for lane, task in self._tasks.items():
            if lane not in self._under and task is not asyncio.current_task():
                task.cancel()

    # Requests

    async def request(self, user: User, name: str, tags: tuple[str, ...], sent: Send) -> UserReply:
        """Send a request of *user* when its turn comes, and record it."""
        lane = self._lane(user)
        intended = await self._turn(lane)
        under = _Under(intended, max(intended, time.monotonic()), self._kind(name, tags))
        self._under[lane] = under
        try:
            async with asyncio.timeout_at(self._deadline(under.sent)):
                reply, _ = await sent()
        except TimeoutError:
            text = "timeout" if user.wire.was_up else "connect timeout"
            self._fail(lane, text, None, timed_out=True)
            self._told[lane] = late = HttpTimeout(text)
            raise late from None
        except Exception as error:
            self._fail(lane, str(error) if isinstance(error, HttpError) else type(error).__name__, error)
            self._told[lane] = error
            raise
        finally:
            if self.over:  # this was the last one, whatever the user would wait for now
                self._tasks[lane].cancel()
        if self._under.pop(lane, None) is not None:
            self._answered(lane, under, user.wire, reply)
        return reply

    def _answered(self, lane: int, under: _Under, wire: Wire, reply: UserReply) -> None:
        line = wire.line
        if line is None:
            return
        # The first connection is the price of starting a user; later ones are part of their request.
        if wire.new and not self._options.open_model:
            under.sent = under.intended = max(under.sent, line.up_at)
        if reply.failure is not None:
            self.texts.setdefault(reply.failure, reply.text[:_EXAMPLE_CHARACTERS])
        self._end(
            lane,
            under,
            line.last_byte_at,
            line.first_byte_at - under.sent,
            line.bytes_received,
            reply.failure,
            False,
        )

    def _deadline(self, sent: float) -> float:
        return self._loop.time() + (sent - time.monotonic()) + self._options.timeout

    def _fail(self, lane: int, text: str, error: BaseException | None, *, timed_out: bool = False) -> None:
        under = self._under.pop(lane, None)
        if under is None:
            return
        if error is not None and len(self.examples) < 100:
            self.examples.setdefault(text, error)
        done = under.sent + self._options.timeout if timed_out else time.monotonic()
        self._end(lane, under, done, -1.0, 0, text, timed_out)

    def _end(
        self, lane: int, under: _Under, done: float, first: float, size: int, text: str | None, late: bool
    ) -> None:
        self._run.end_turn(lane, under.kind, under.intended, under.sent, done, first, size, text, late)

    def _kind(self, name: str, tags: tuple[str, ...] = ()) -> int:
        if (name, tags) not in self.kinds and len(self.kinds) >= MOST_KINDS - 1:
            name, tags = _OTHERS, ()
        return self.kinds.setdefault((name, tags), len(self.kinds))

    # Users

    async def live(self, user: User) -> None:
        """Call the function again and again, until the run is over."""
        try:
            while not self.over:
                before = user.requests_made
                try:
                    await self._function(user)
                except Exception as error:
                    await self._failed(user, error)
                    continue
                except asyncio.CancelledError as error:
                    # The run cancels who has nothing under way, and at its end everybody.
                    if self.over and (self._ending or self._lane(user) not in self._under):
                        raise
                    await self._cancelled_itself(user, error)
                    continue
                if user.requests_made == before:
                    raise LoadTestError(f"{self._name} made no request: it would go on for ever")
        except asyncio.CancelledError:
            if self._under.pop(self._lane(user), None) is not None:
                self._run.abandon(1)

    async def _cancelled_itself(self, user: User, error: asyncio.CancelledError) -> None:
        """The run has not cancelled this task: what the function calls has."""
        task = asyncio.current_task()
        while task is not None and task.cancelling():
            task.uncancel()
        if (lane := self._lane(user)) in self._under:
            self._fail(lane, type(error).__name__, error)
            await asyncio.sleep(_BACKOFF)
        else:
            await self._failed(user, error)

    async def _failed(self, user: User, error: BaseException) -> None:
        """What a function raises is a failure, unless a request of it has failed so already."""
        lane = self._lane(user)
        if error is not self._told.pop(lane, None):
            intended = await self._turn(lane)
            self._under[lane] = _Under(intended, max(intended, time.monotonic()), self._kind(self._name))
            self._fail(lane, type(error).__name__, error)
        await asyncio.sleep(_BACKOFF)

    async def all_users(self, users: Sequence[User]) -> None:
        """All of them, to the end."""
        for user in users:
            user.take_turns(self)
            self._tasks[self._lane(user)] = self._loop.create_task(self.live(user))
        try:
            done, _ = await asyncio.wait(self._tasks.values(), return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                if not task.cancelled() and (error := task.exception()) is not None:
                    raise error
        finally:
            await self.end_all()
            for user in users:
                user.take_turns(None)

    async def end_all(self) -> None:
        self.over = self._ending = True
        for task in self._tasks.values():
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks.values(), timeout=_GRACE)

    def stop(self) -> None:
        self._run.stop()
        self.over = self._ending = True
        for task in self._tasks.values():
            task.cancel()

    def cut_off(self) -> None:
        """The end at the latest: what is under way has not been answered."""
        for lane in list(self._under):
            under = self._under.pop(lane)
            self._end(lane, under, time.monotonic(), -1.0, 0, _UNANSWERED, True)
        self.stop()


async def drive_users(
    run: CallRun,
    users: Sequence[User],
    function: UserFunction,
    name: str,
    options: RunOptions,
    supervisor: Supervision,
) -> Driven:
    """Let *users* call *function* on the running loop."""
    loop = asyncio.get_running_loop()
    mine = _UserRun(run, options, function, name)
    timer = run.timer_fd()
    loop.add_reader(timer, mine.wake)
    ends: asyncio.TimerHandle | None = None
    if options.planned is not None:
        ends = loop.call_later(options.warmup + options.planned, mine.end_idle)
    try:
        with take_lag(loop) as lag, Witness(loop, lag.take_worst) as witness:
            ended = await supervisor(run, mine.all_users(users), mine.stop, mine.cut_off)
    finally:
        if ends is not None:
            ends.cancel()
        if not loop.is_closed():
            loop.remove_reader(timer)
    run.finish()
    report = run.report()
    report["kind_tags"] = [tags for _, tags in mine.kinds]
    report["kinds"] = [
        (name, *kind[1:]) for (name, _), kind in zip(mine.kinds, report["kinds"], strict=False)
    ]
    report["examples"].update(mine.texts)
    driven = Driven(
        report, ended, lag.histogram, None, mine.examples, witness, lag.histogram, lag.late_total, lag.cpu
    )
    return supervisor.made(driven)
