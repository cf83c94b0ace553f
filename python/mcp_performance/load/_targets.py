"""What a load test can be pointed at: a URL, an ASGI app, an async or a sync callable."""

from __future__ import annotations

import asyncio
import inspect
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from .._base._url import PRODUCT, HttpUrl
from .._core import HTTP2_BUILT_IN, CallRun, HttpRun, RequestPicker
from ..errors import ConfigurationError, LoadTestError
from ._drive import Driven, Supervisor, drive_http, drive_tasks, drive_threads
from ._options import RunOptions
from ._scenario import Plan, Request, expand

__all__ = ["AsgiTarget", "AsyncTarget", "HttpTarget", "SyncTarget", "Target", "TargetOptions", "make_target"]

USER_AGENT = f"{PRODUCT} (load test)"
_NULL_CALLS = 2000

Message = MutableMapping[str, Any]
AsgiApp = Callable[
    [MutableMapping[str, Any], Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]],
    Awaitable[None],
]


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetOptions:
    """How to talk to the target; see :class:`LoadTester`."""

    headers: Mapping[str, str] = field(default_factory=dict)
    scenario: Sequence[Request] | None = None
    order: str = "weighted"
    verify: bool | str = True
    unix_socket: str | None = None
    allow_hosts: Sequence[str] = ()
    http2: bool = False
    follow_redirects: bool = True
    max_body: int = 64 << 20
    threads: int = 1
    seed: int | None = None

    @property
    def seed_number(self) -> int:
        return 0 if self.seed is None else self.seed

    def salt(self) -> int:
        """What UUIDs start from: the seed if one was given, chance otherwise."""
        return 0 if self.seed is not None else secrets.randbits(63)


class Target:
    """Something that requests can be sent to."""

    name: str
    http = False
    lag_is_ours = False

    async def drive(self, options: RunOptions, supervisor: Callable[[Any, Any, Any], Any]) -> Driven:
        raise LoadTestError(f"{type(self).__name__} cannot be driven")

    async def null_cost(self) -> float | None:
        """Seconds that a request costs when the target does nothing; None where that is not measured."""
        return None


class HttpTarget(Target):
    """A URL, through the native engine."""

    http = True

    def __init__(self, url: str, options: TargetOptions) -> None:
        self._url = HttpUrl.parse(url, name="target", unix_socket=options.unix_socket)
        if options.http2 and not HTTP2_BUILT_IN:
            raise ConfigurationError(
                "http2=True: expected False, because this build found no libnghttp2 "
                "(on Debian: apt-get install libnghttp2-dev, and install this package again)"
            )
        self.name = url.partition("?")[0] if options.scenario else url
        self._options = options
        self._plan = _plan(options, self._url.path, self._url.query)
        self._salt = options.salt()

    async def drive(self, options: RunOptions, supervisor: Supervisor) -> Driven:
        threads = min(self._options.threads, options.users)
        # Resolving the name and reading certificates may block.
        run = await asyncio.to_thread(self.make_run, options, threads)
        return await drive_http(run, supervisor)

    def make_run(self, options: RunOptions, threads: int, *, live_kinds: bool = False) -> HttpRun:
        """A run that has not begun. With *live_kinds* its report has kinds and errors each second."""
        verify = self._options.verify
        return HttpRun(
            **options.native(),
            threads=threads,
            host=self._url.host,
            port=self._url.port,
            authority=self._url.authority,
            tls=self._url.tls,
            verify=verify is not False,
            ca_file=verify if isinstance(verify, str) else "",
            unix_socket=self._url.unix_socket,
            allow_hosts=list(self._options.allow_hosts),
            http2=self._options.http2,
            live_kinds=live_kinds,
            follow_redirects=self._options.follow_redirects,
            body_limit=self._options.max_body,
            scenario=[kind.native() for kind in self._plan.kinds],
            sequence=self._plan.sequence,
            salt=self._salt,
        )


def _plan(options: TargetOptions, path: str, query: str) -> Plan:
    headers = {"User-Agent": USER_AGENT, "Accept": "*/*", **options.headers}
    if options.scenario is not None:
        return expand(options.scenario, prefix=path.rstrip("/"), headers=headers, order=options.order)
    # The path comes from a URL, in which braces mean themselves.
    only = expand([Request("GET", "/")], prefix="", headers=headers, order="weighted")
    method, _, lines, body = only.kinds[0].messages[0]
    target = (path or "/") + (f"?{query}" if query else "")
    only.kinds[0].name = f"GET {path or '/'}"
    only.kinds[0].messages[0] = (method, target, lines, body)
    return only


class AsyncTarget(Target):
    """A coroutine function without arguments, awaited on the running loop."""

    lag_is_ours = True

    def __init__(self, function: Callable[[], Awaitable[Any]]) -> None:
        self.name = _name_of(function)
        self._function = function

    async def drive(self, options: RunOptions, supervisor: Supervisor) -> Driven:
        run = CallRun(**options.native(), kinds=[self.name], first_byte=False, threaded=False)
        return await drive_tasks(run, self._function, options, supervisor, with_number=False)

    async def null_cost(self) -> float | None:
        async def nothing() -> None:
            pass

        return await _median_cost(nothing, with_number=False)


class SyncTarget(Target):
    """A function without arguments, called on one thread for each user."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self.name = _name_of(function)
        self._function = function

    async def drive(self, options: RunOptions, supervisor: Supervisor) -> Driven:
        run = CallRun(**options.native(), kinds=[self.name], first_byte=False, threaded=True)
        return await drive_threads(run, self._function, options, supervisor)

    async def null_cost(self) -> float | None:
        def nothing() -> None:
            pass

        run = CallRun(**_null_options().native(), kinds=["nothing"], first_byte=False, threaded=True)
        driven = await drive_threads(run, nothing, _null_options(), _plain)
        return float(driven.report["response"].percentile(50))


class AsgiTarget(Target):
    """An ASGI app in this process: no sockets, no HTTP parsing, the app's own cost and nothing else."""

    def __init__(self, app: AsgiApp, options: TargetOptions, name: str | None = None) -> None:
        self.name = name or f"ASGI app {_name_of(app)}"
        self._app = app
        self._plan = _plan(options, "", "")
        picker = RequestPicker(
            scenario=[kind.native() for kind in self._plan.kinds],
            sequence=self._plan.sequence,
            authority="testserver",
            seed=options.seed_number,
            salt=options.salt(),
        )
        self._call = _AsgiCall(app, picker, self._plan)

    async def drive(self, options: RunOptions, supervisor: Supervisor) -> Driven:
        kinds = [kind.name for kind in self._plan.kinds]
        run = CallRun(**options.native(), kinds=kinds, first_byte=True, threaded=False)
        async with _Lifespan(self._app):
            driven = await drive_tasks(run, self._call, options, supervisor, with_number=True)
        driven.exceptions.update(self._call.exceptions)
        return driven

    async def null_cost(self) -> float | None:
        async def nothing(scope: Any, receive: Any, send: Any) -> None:
            await send(_NULL_START)
            await send(_NULL_BODY)

        call = _AsgiCall(nothing, self._call.picker, self._plan)
        return await _median_cost(call, with_number=True)


_NULL_START: Message = {"type": "http.response.start", "status": 200, "headers": []}
_NULL_BODY: Message = {"type": "http.response.body", "body": b""}


async def _plain(run: Any, work: Awaitable[None], stop: Callable[[], None]) -> bool:
    await work
    return False


def _null_options() -> RunOptions:
    return RunOptions(
        requests=_NULL_CALLS, users=1, duration=None, rate=None, stages=None, stage_users=0.0, batch_size=1,
        warmup=0.0, timeout=60.0, think=(0.0, 0.0), poisson=False, seed=0,
    )  # fmt: skip


async def _median_cost(function: Callable[..., Awaitable[Any]], *, with_number: bool) -> float:
    kinds = 64 if with_number else 1
    run = CallRun(
        **_null_options().native(), kinds=[str(i) for i in range(kinds)], first_byte=False, threaded=False
    )
    driven = await drive_tasks(run, function, _null_options(), _plain, with_number=with_number)
    return float(driven.report["response"].percentile(50))


def _name_of(target: Any) -> str:
    return getattr(target, "__qualname__", None) or type(target).__qualname__


class _Lifespan:
    """The app's startup and shutdown around a run, for apps that take part in the protocol."""

    def __init__(self, app: AsgiApp) -> None:
        self._app = app
        self._to_app: asyncio.Queue[Message] = asyncio.Queue()
        self._from_app: asyncio.Queue[Message] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        self._supported = False

    async def _run(self) -> None:
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": {}}
        await self._app(scope, self._to_app.get, self._from_app.put)

    async def _exchange(self, kind: str) -> Message | None:
        """Send lifespan.*kind* and wait for its answer; None when the app has left the protocol."""
        if self._task is None:
            return None
        await self._to_app.put({"type": f"lifespan.{kind}"})
        answer = asyncio.ensure_future(self._from_app.get())
        await asyncio.wait({answer, self._task}, return_when=asyncio.FIRST_COMPLETED)
        if answer.done():
            return answer.result()
        answer.cancel()
        return None

    async def __aenter__(self) -> None:
        self._task = asyncio.create_task(self._run())
        answer = await self._exchange("startup")
        if answer is not None and answer["type"] == "lifespan.startup.failed":
            await asyncio.wait({self._task})
            raise LoadTestError(f"the app's startup failed: {answer.get('message', '')}")
        self._supported = answer is not None
        if self._task.done() and not self._task.cancelled():
            self._task.exception()  # an app without lifespan raises here, as the protocol allows

    async def __aexit__(self, *_: object) -> None:
        if self._task is None:
            return
        if self._supported:
            await self._exchange("shutdown")
        if not self._task.done():
            self._task.cancel()
        await asyncio.wait({self._task})
        if not self._task.cancelled():
            self._task.exception()


class _Timeline:
    """The app's side of one request: what it sends, and when the first byte came."""

    __slots__ = ("body", "bytes", "first_byte", "keep", "messages", "status")

    def __init__(self, messages: list[Message], keep: bool) -> None:
        self.messages = messages
        self.status = 0
        self.bytes = 0
        self.first_byte = 0.0
        self.keep = keep
        self.body = b""

    async def receive(self) -> Message:
        if self.messages:
            return self.messages.pop()
        # The client stays connected and has nothing more to say.
        await asyncio.get_running_loop().create_future()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        kind = message["type"]
        if kind == "http.response.body":
            body = message.get("body", b"")
            if not self.first_byte:
                self.first_byte = time.monotonic()
            self.bytes += len(body)
            if self.keep:
                self.body += body
        elif kind == "http.response.start":
            self.status = message["status"]


class _AsgiCall:
    """Carries request number *n* of the scenario into the app; its outcome goes to the lane."""

    def __init__(self, app: AsgiApp, picker: RequestPicker, plan: Plan) -> None:
        self._app = app
        self.picker = picker
        self.exceptions: dict[str, BaseException] = {}
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
        messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
        timeline = _Timeline(messages, bool(check.contains))
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
        elif not check.low <= timeline.status <= check.high:
            failure = f"status {timeline.status}"
        elif check.contains and check.contains not in timeline.body:
            failure = "check failed: body"
        return failure, kind, timeline.bytes, first_byte


def _scope(
    method: str, target: str, headers: list[tuple[str, str]], body: bytes
) -> tuple[dict[str, Any], bytes, bool]:
    path, _, query = target.partition("?")
    lines = [(b"host", b"testserver")]
    lines += [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    if body:
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


def make_target(target: Any, options: TargetOptions) -> Target:
    """The target that *target* is: a URL, None, an ASGI app or a callable. Raises ``TypeError``."""
    if options.http2 and not isinstance(target, str):
        raise ConfigurationError("http2=True: expected a URL as the target")
    if target is None:
        from ._sample import SampleTarget

        return SampleTarget(options)
    if isinstance(target, Target):
        return target
    if isinstance(target, str):
        return HttpTarget(target, options)
    if not callable(target):
        raise TypeError(f"target={target!r}: expected a URL, an ASGI app or a callable")
    function: Any = target
    if _takes_asgi(target):
        return AsgiTarget(function, options)
    for name, value in (("scenario", options.scenario), ("headers", options.headers)):
        if value:
            raise ConfigurationError(
                f"{name}={value!r}: expected none with a callable, which is called without arguments"
            )
    return AsyncTarget(function) if _is_async(function) else SyncTarget(function)


def _is_async(target: Any) -> bool:
    while hasattr(target, "func"):  # functools.partial
        target = target.func
    if inspect.iscoroutinefunction(target) or inspect.iscoroutinefunction(type(target).__call__):
        return True
    return inspect.iscoroutinefunction(getattr(target, "__wrapped__", None))


def _takes_asgi(target: Any) -> bool:
    """Whether *target* must be called as ``(scope, receive, send)``."""
    try:
        parameters = inspect.signature(target).parameters.values()
    except (TypeError, ValueError):
        return False
    required = [
        parameter
        for parameter in parameters
        if parameter.default is parameter.empty
        and parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
    return len(required) == 3
