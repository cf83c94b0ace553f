"""An ASGI app in this process as a target."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import unquote

from ..._core import CallRun, RequestPicker
from ...errors import ConfigurationError, LoadTestError
from .._drive import drive_tasks, has_busy_threads
from .._options import RunOptions
from .._scenario import Plan, tags_of
from .._supervision import Driven, Supervision
from ._callable import median_cost
from ._target import Target, TargetOptions, name_of, plan

__all__ = ["AsgiTarget"]

Message = MutableMapping[str, Any]
AsgiApp = Callable[
    [MutableMapping[str, Any], Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]],
    Awaitable[None],
]


class AsgiTarget(Target):
    """An ASGI app in this process: no sockets, no HTTP parsing, the app's own cost and nothing else."""

    def __init__(self, app: AsgiApp, options: TargetOptions, name: str | None = None) -> None:
        self.name = name or f"ASGI app {name_of(app)}"
        self._app = app
        self._plan = plan(options, "", "")
        if self._plan.variables:
            raise ConfigurationError(
                f"save: expected none with an ASGI app, not {self._plan.variables[0]!r}: its users share all"
            )
        self.kinds = [kind.name for kind in self._plan.kinds]
        self.tags = tags_of(options.scenario or ())
        picker = RequestPicker(
            scenario=[kind.native() for kind in self._plan.kinds],
            sequence=self._plan.sequence,
            authority="testserver",
            seed=options.seed_number,
            salt=options.salt(),
        )
        self._call = _AsgiCall(app, picker, self._plan)

    async def drive(self, options: RunOptions, supervisor: Supervision) -> Driven:
        foreign = await has_busy_threads()
        loop = asyncio.get_running_loop()
        async with _Lifespan(self._app, options.before(_STARTUP)) as lifespan:
            await supervisor.ready()
            began = loop.time()
            run = CallRun(**options.native(), kinds=self.kinds, first_byte=True, threaded=False)
            driven = await drive_tasks(
                run, self._call, options, supervisor, with_number=True, foreign=foreign
            )
            driven.exceptions.update(self._call.exceptions)
            driven.report["examples"].update(self._call.examples)
            lifespan.patience = options.afterwards(loop.time() - began)
        return driven

    async def null_cost(self) -> float | None:
        async def nothing(scope: Any, receive: Any, send: Any) -> None:
            await send(_NULL_START)
            await send(_NULL_BODY)

        call = _AsgiCall(nothing, self._call.picker, self._plan)
        return await median_cost(call, with_number=True)


# Of the body of a failed answer, as its example.
_EXAMPLE_BYTES = 200
# Seconds that an app may take to start, at most; and to be cancelled.
_STARTUP, _CANCELLED = 60.0, 0.2
_NULL_START: Message = {"type": "http.response.start", "status": 200, "headers": []}
_NULL_BODY: Message = {"type": "http.response.body", "body": b""}


class _Lifespan:
    """The app's startup and shutdown around a run, for apps that take part in the protocol."""

    def __init__(self, app: AsgiApp, patience: float) -> None:
        self._app = app
        self.patience = patience  # seconds that it may take to start, and then to shut down
        self._to_app: asyncio.Queue[Message] = asyncio.Queue()
        self._from_app: asyncio.Queue[Message] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        self._supported = False

    async def _run(self) -> None:
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": {}}
        await self._app(scope, self._to_app.get, self._from_app.put)

    async def _exchange(self, kind: str, seconds: float) -> Message | None:
        """Send lifespan.*kind* and wait for its answer; None when the app has left the protocol.

        Raises:
            TimeoutError: it took longer than *seconds*.
        """
        if self._task is None:
            return None
        await self._to_app.put({"type": f"lifespan.{kind}"})
        answer = asyncio.ensure_future(self._from_app.get())
        done, _ = await asyncio.wait(
            {answer, self._task}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED
        )
        if answer.done():
            return answer.result()
        answer.cancel()
        if not done:
            raise TimeoutError(f"lifespan.{kind} took longer than {seconds:.3g} s")
        return None

    async def __aenter__(self) -> _Lifespan:
        self._task = asyncio.create_task(self._run())
        try:
            answer = await self._exchange("startup", self.patience)
        except TimeoutError as error:
            await self._end()
            raise LoadTestError(f"the app's startup failed: {error}") from None
        if answer is not None and answer["type"] == "lifespan.startup.failed":
            await asyncio.wait({self._task}, timeout=_CANCELLED)
            await self._end()
            raise LoadTestError(f"the app's startup failed: {answer.get('message', '')}")
        self._supported = answer is not None
        if self._task.done() and not self._task.cancelled():
            self._task.exception()  # an app without lifespan raises here, as the protocol allows
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._supported:
            with contextlib.suppress(TimeoutError):
                await self._exchange("shutdown", self.patience)
        await self._end()

    async def _end(self) -> None:
        if self._task is None:
            return
        if not self._task.done():
            self._task.cancel()
        await asyncio.wait({self._task}, timeout=_CANCELLED)
        if self._task.done() and not self._task.cancelled():
            self._task.exception()


class _Timeline:
    """The server's side of one request: what the app sends, in the order that ASGI demands, and when.

    A server would send no whole answer for what breaks the rules, so here it is no success either.
    """

    __slots__ = (
        "body",
        "bytes",
        "ended",
        "first_byte",
        "head",
        "headers",
        "keep",
        "messages",
        "over",
        "status",
    )

    def __init__(self, messages: list[Message], keep: bool) -> None:
        self.messages = messages
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.bytes = 0
        self.first_byte = 0.0
        self.keep = keep
        self.body = b""
        self.head = b""
        self.ended = False
        self.over: asyncio.Event | None = None  # for whoever waits for the client to leave

    async def receive(self) -> Message:
        if self.messages:
            return self.messages.pop()
        # The client has nothing more to say, and stays until it has its answer.
        if not self.ended:
            if self.over is None:
                self.over = asyncio.Event()
            await self.over.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        kind = message["type"]
        if kind == "http.response.body":
            if not self.status or self.ended:
                raise RuntimeError(
                    f"the app sent {kind} {'after its end' if self.ended else 'before its start'}"
                )
            body = message.get("body", b"")
            if not isinstance(body, bytes | bytearray | memoryview):
                raise TypeError(f"the app sent a body of {type(body).__name__}, expected bytes")
            if not self.first_byte:
                self.first_byte = time.monotonic()
                self.head = bytes(body[:_EXAMPLE_BYTES])
            self.bytes += len(body)
            if self.keep:
                self.body += body
            if not message.get("more_body", False):
                self.ended = True
                if self.over is not None:
                    self.over.set()
        elif kind == "http.response.start":
            if self.status:
                raise RuntimeError(f"the app sent {kind} twice")
            self.status = message["status"]
            if self.keep:
                self.headers = [(bytes(name), bytes(value)) for name, value in message.get("headers", ())]
        else:
            raise RuntimeError(f"the app sent {kind!r}, which is no part of an answer")


class _AsgiCall:
    """Carries request number *n* of the scenario into the app; its outcome goes to the lane."""

    def __init__(self, app: AsgiApp, picker: RequestPicker, plan: Plan) -> None:
        self._app = app
        self.picker = picker
        self.exceptions: dict[str, BaseException] = {}
        self.examples: dict[str, str] = {}
        self._checks = [kind.check for kind in plan.kinds]
        self._scopes = [[_scope(*message) for message in kind.messages] for kind in plan.kinds]

    async def __call__(self, number: int) -> tuple[str | None, int, int, float]:
        began = time.monotonic()
        kind, variant = self.picker.choose(number)
        scope, body, varies = self._scopes[kind][variant]
        scope = dict(scope)
        if varies:
            body = _vary(self.picker, scope, body, number)
        else:
            scope["headers"] = list(scope["headers"])
        check = self._checks[kind]
        looks = check.looks
        messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
        timeline = _Timeline(messages, looks)
        try:
            await self._app(scope, timeline.receive, timeline.send)
        except Exception as error:
            name = type(error).__name__
            self.exceptions.setdefault(name, error)
            return name, kind, timeline.bytes, -1.0
        first_byte = timeline.first_byte - began if timeline.first_byte else -1.0
        failure: str | None = None
        if timeline.status == 0:
            failure = "no response"
        elif not timeline.ended:
            failure = "response not completed"
        elif not check.low <= timeline.status <= check.high:
            failure = f"status {timeline.status}"
        elif looks:
            failure = self.picker.judge(kind, timeline.status, timeline.headers, timeline.body) or None
        if failure is not None and timeline.head and failure not in self.examples:
            self.examples[failure] = timeline.head.decode("utf-8", "replace")
        return failure, kind, timeline.bytes, first_byte


def _scope(
    method: str, target: str, headers: list[tuple[bytes, bytes]], body: bytes
) -> tuple[dict[str, Any], bytes, bool]:
    path, _, query = target.partition("?")
    lines = [(name.lower(), value) for name, value in headers]
    given = {name for name, _ in lines}
    if b"host" not in given:
        lines.insert(0, (b"host", b"testserver"))
    if body and b"content-length" not in given:
        lines.append((b"content-length", str(len(body)).encode()))
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(path),
        "raw_path": path.encode("ascii"),
        "query_string": query.encode("ascii"),
        "root_path": "",
        "headers": lines,
        "client": ("127.0.0.1", 0),
        "server": ("testserver", 80),
    }
    varies = "\x01" in target or b"\x01" in body or any(b"\x01" in value for _, value in lines)
    return scope, body, varies


def _vary(picker: RequestPicker, scope: dict[str, Any], body: bytes, number: int) -> bytes:
    """Fill the markers of *scope* and *body* for request *number*; the body that results."""
    raw = picker.fill(scope["raw_path"], number)
    scope["raw_path"] = raw
    scope["path"] = unquote(raw.decode("ascii"))
    scope["query_string"] = picker.fill(scope["query_string"], number)
    scope["headers"] = [(name, picker.fill(value, number)) for name, value in scope["headers"]]
    return picker.fill(body, number)
